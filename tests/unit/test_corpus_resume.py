"""Reading on from any cursor that was ever reported gives exactly what reading through gives."""

import bz2
import csv
import gzip
import io
import json
import lzma
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from pipelines.batching import batches
from pipelines.corpus import CorpusOptions, discover, open_corpus, parse_keep
from pipelines.documents import Document
from pipelines.spec import CorpusSpec, Format

COMPRESS = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".zst": zstandard.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
rows = st.lists(st.tuples(texts, st.none() | texts, st.integers(-5, 5)), max_size=12)


def every_place(spec: CorpusSpec):
    """All items with the cursor before them, their warnings, and the cursor at the end."""
    reader = open_corpus(spec)
    steps, before = [], reader.cursor
    for item in reader:
        steps.append((before, item, reader.take_warnings()))
        before = reader.cursor
    return steps, reader.cursor


def check_resume(spec: CorpusSpec) -> int:
    steps, end = every_place(spec)
    for index, (cursor, _, _) in enumerate(steps):
        assert cursor.documents == index
        reader = open_corpus(spec, cursor)
        rest = [(item, reader.take_warnings()) for item in reader]
        assert rest == [(item, warnings) for _, item, warnings in steps[index:]]
        assert reader.cursor == end
    return len(steps)


@pytest.mark.parametrize("suffix", COMPRESS)
@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.binary(max_size=8) | st.sampled_from([b'{"text": "a"}', b"", b" ", b'{"text": 1}', b"[]"])),
    st.booleans(),
)
def test_json_lines(suffix, lines, ended):
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.jsonl" + suffix)
        path.write_bytes(COMPRESS[suffix](b"\n".join([b"{}", *lines]) + (b"\n" if ended else b"")))
        check_resume(discover([str(path)], CorpusOptions(format=Format.JSONL)))


@pytest.mark.parametrize("suffix", COMPRESS)
@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([b"a", b"", b"\r", b" ", b"\xff", "é".encode(), b"\xef\xbb\xbf"])))
def test_text(suffix, lines):
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.txt" + suffix)
        path.write_bytes(COMPRESS[suffix](b"\n".join(lines)))
        check_resume(discover([str(path)], CorpusOptions(format=Format.TEXT)))


@settings(max_examples=60, deadline=None)
@example([("\t", "\n", 0)], "\n", "\t", "", csv.QUOTE_MINIMAL)
@example([("a", "\t\n", 0), ("b", None, 1)], "\n", "\t", "", csv.QUOTE_MINIMAL)
@given(
    rows,
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([",", "\t"]),
    st.sampled_from(list(COMPRESS)),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_delimited_gives_back_what_csv_wrote(rows, end, delimiter, suffix, quoting):
    # Ending lines with \n, csv leaves a carriage return unquoted, and refuses to read it.
    assume(quoting == csv.QUOTE_ALL or not any("\r" in row[0] + (row[1] or "") for row in rows))
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerows([("text", "other", "n"), *rows])
    name = "a.tsv" if delimiter == "\t" else "a.csv"
    with TemporaryDirectory() as folder:
        path = Path(folder, name + suffix)
        path.write_bytes(COMPRESS[suffix](out.getvalue().encode()))
        spec = discover([str(path)], CorpusOptions(id_column="n", keep=(parse_keep("other"),)))
        assert check_resume(spec) == len(rows)
        for (text, other, number), item in zip(rows, open_corpus(spec), strict=True):
            if isinstance(item, Document):
                assert (item.text, item.id, item.kept) == (text, str(number), (other or "",))
            else:
                assert text.strip() == ""


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=60).map(lambda data: data.replace(b"q", b'"').replace(b"n", b"\n")),
    st.sampled_from(["csv", "tsv"]),
)
def test_delimited_takes_any_bytes(data, kind):
    with TemporaryDirectory() as folder:
        path = Path(folder, f"a.{kind}")
        path.write_bytes(b"text\tb,c\n" + data)
        check_resume(discover([str(path)], CorpusOptions(header=False, text_columns=("0",))))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(['"', '""', "\n", "\t", "a", '\t"', '"\t', "\r"]), max_size=25).map("".join))
def test_tab_separated_with_stray_quotes(body):
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.tsv")
        path.write_bytes(b"text\tb\n" + body.encode())
        check_resume(discover([str(path)], CorpusOptions()))


@settings(max_examples=30, deadline=None)
@given(rows, st.integers(1, 5), st.sampled_from(["parquet", "arrow", "arrows"]))
def test_columnar(rows, size, kind):
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    fields = [("text", pa.string()), ("other", pa.string()), ("n", pa.int64())]
    table = pa.table(
        [pa.array(values, kind) for values, (_, kind) in zip(columns, fields, strict=True)], [f[0] for f in fields]
    )
    with TemporaryDirectory() as folder:
        path = Path(folder, f"a.{kind}")
        if kind == "parquet":
            pq.write_table(table, path, row_group_size=size)
        else:
            new = pa.ipc.new_file if kind == "arrow" else pa.ipc.new_stream
            with pa.OSFile(str(path), "wb") as file, new(file, table.schema) as writer:
                writer.write_table(table, max_chunksize=size)
        spec = discover([str(path)], CorpusOptions(keep=(parse_keep("other"), parse_keep("n"))))
        assert check_resume(spec) == len(rows)
        for (text, other, number), item in zip(rows, open_corpus(spec), strict=True):
            assert item.origin.line == 0
            if isinstance(item, Document):
                assert (item.text, item.kept) == (text, (other, number))


@pytest.mark.parametrize("limit", [None, 0, 1, 4, 100])
def test_across_files_of_several_formats(tmp_path, limit):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n\n{"text": 3}\n')
    (tmp_path / "b.csv").write_text("text\nb\n\nc,d\n")
    (tmp_path / "c.txt").write_text("x\n\n\ny\n\n")
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress(b'{"text": "cut"}\n{"text": "off"}\n')[:-9])
    names = [str(tmp_path / name) for name in ("a.jsonl", "b.csv", "c.txt", "d.jsonl.gz", "a.jsonl")]
    spec = discover(names, CorpusOptions(limit=limit))
    count = check_resume(spec)
    assert count == min(count if limit is None else limit, count)
    if limit is None:
        _, end = every_place(spec)
        assert (end.shard, end.offset, end.blank_lines) == (5, 0, 3)


def test_batches_read_again_are_the_same(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": f"text {n}", "k": n if n % 7 else "x"}) + "\n" for n in range(50)))
    spec = discover([str(path)], CorpusOptions(keep=(parse_keep("k:int64"),)))
    whole = list(batches(open_corpus(spec), max_documents=8))
    assert sum(len(batch.warnings) for batch in whole) == 8
    for batch in whole:
        assert next(batches(open_corpus(spec, batch.start), number=batch.number, max_documents=8)) == batch


def test_iterating_again_goes_on(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("a\nb\nc\n")
    with open_corpus(discover([str(path)], CorpusOptions())) as reader:
        assert next(iter(reader)).text == "a"
        assert [item.text for item in reader] == ["b", "c"]
        assert list(reader) == []
