"""Planning by scanning cuts the batches that reading cuts, whatever is in the files."""

from __future__ import annotations

import bz2
import gzip
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from pipelines.batching import batches
from pipelines.corpus import blocks, line_scan, lines, open_corpus
from pipelines.corpus.source_digest import source_digest
from pipelines.documents import CORPUS_START, Batch, Reason, Reject
from pipelines.parts.plan import PlanEntry, entry_of
from pipelines.parts.store import Store
from pipelines.planning import Planner
from pipelines.ranges import Ranges
from pipelines.spec import CorpusSpec, Dtype, Format, ModelRef, Pooling, RunSpec, Shard, embedding_feature

MODEL = ModelRef("m", "/m", "", "roberta", "d" * 64, "e" * 64, "f" * 64, 2, 512)

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "none": lambda data: data,
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
    "bz2": bz2.compress,
}
PIECES = [b"", b" ", b"\r", b"\xef\xbb\xbf", b"\xc2\xa0", b"\xe3\x80\x80", b"\x1c", b"\xc2", b"\xff", b"x" * 30, b"[]"]
OBJECTS = [b'{"text": "a"}', b'{"text": "\\u20ac\xc3\xa9 b", "pair": "c"}', b'{"text": " "}', b'{"id": 1}', b'{"text']
contents = st.lists(st.sampled_from(PIECES + OBJECTS), max_size=12).flatmap(
    lambda pieces: st.sampled_from([b"\n", b"\r\n", b"\n\n", b""]).map(lambda end: end.join([*pieces, b""]))
)
LIMITS = st.tuples(st.integers(1, 5), st.sampled_from([1, 8, 40, 2**25]))


def shard_of(path: Path, format_: Format, compression: str = "none") -> Shard:
    status = os.stat(path)
    return Shard(str(path), path.name, format_, compression, status.st_size, status.st_mtime_ns)


def plan(spec: CorpusSpec, limits: tuple[int, int], start: PlanEntry | None = None) -> tuple[list[PlanEntry], Ranges]:
    begin, number = (start.end, start.batch + 1) if start is not None else (CORPUS_START, 0)
    with Ranges(spec, begin, number=number, max_documents=limits[0], max_text_bytes=limits[1]) as ranges:
        found = list(ranges)
    for planned in found:
        compressed = any(spec.shards[number].compression != "none" for number in files_of(spec, planned))
        assert isinstance(planned, Batch) == compressed
    return [entry_of(planned) if isinstance(planned, Batch) else planned for planned in found], ranges


def files_of(spec: CorpusSpec, planned: Batch | PlanEntry) -> range:
    return range(planned.start.shard, min(planned.end.shard + 1, len(spec.shards)))


def read(spec: CorpusSpec, limits: tuple[int, int]) -> tuple[list[Batch], object]:
    with open_corpus(spec) as reader:
        return list(batches(reader, max_documents=limits[0], max_text_bytes=limits[1])), reader.cursor


def check(spec: CorpusSpec, limits: tuple[int, int]) -> Ranges:
    """Ranges are the batches of the reader, from every place on, and their sources can be told again."""
    found, ranges = plan(spec, limits)
    wanted, end = read(spec, limits)
    assert [(entry.batch, entry.first, entry.count, entry.start, entry.end) for entry in found] == [
        (batch.number, batch.first, len(batch.items), batch.start, batch.end) for batch in wanted
    ]
    assert ranges.end == end
    assert (ranges.scanned, ranges.read) == (
        sum(bool(entry.source_digest) for entry in found),
        sum(bool(entry.input_digest) for entry in found),
    )
    for entry in found:
        if entry.source_digest:
            assert source_digest(spec, entry.start, entry.end) == entry.source_digest
    for place in range(len(found)):
        rest, again = plan(spec, limits, found[place])
        shape = [(entry.batch, entry.start, entry.end) for entry in found[place + 1 :]]
        assert [(entry.batch, entry.start, entry.end) for entry in rest] == shape
        assert again.end == end
    return ranges


@contextmanager
def small_blocks() -> Iterator[None]:
    """Blocks of seven bytes, so that lines lie across them, and a limit that lines of the tests exceed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", 7)
        patch.setattr(lines, "MAX_LINE_BYTES", 25)
        patch.setattr(line_scan, "MAX_LINE_BYTES", 25)
        yield


@pytest.mark.parametrize("format_", [Format.JSONL, Format.TEXT])
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(contents, st.sampled_from([*COMPRESS])), min_size=1, max_size=3),
    LIMITS,
    st.booleans(),
    st.sampled_from(["utf-8", "latin-1", "gb18030"]),
    st.none() | st.integers(1, 6),
)
@example([(b"\xef\xbb\xbf", "none"), (b"a\n", "none")], (2, 2**25), False, "utf-8", None)
@example([(b"a\n\n\n", "gzip"), (b"\n", "none")], (2, 2**25), True, "utf-8", None)
@example([(b"a\n" + OBJECTS[1] + b"\n", "zstd"), (b"b\n", "none")], (2, 1), True, "utf-8", None)
def test_files_of_lines(
    format_: Format,
    files: Sequence[tuple[bytes, str]],
    limits: tuple[int, int],
    small: bool,
    encoding: str,
    limit: int | None,
) -> None:
    with TemporaryDirectory() as folder:
        shards = []
        for number, (content, compression) in enumerate(files):
            path = Path(folder) / str(number)
            path.write_bytes(COMPRESS[compression](content))
            shards.append(shard_of(path, format_, compression))
        spec = CorpusSpec(tuple(shards), encoding=encoding, limit=limit)
        if small:
            with small_blocks():
                check(spec, limits)
        else:
            check(spec, limits)


texts = st.sampled_from(["a", "b" * 20, "\u20ac" * 4, " ", ""]) | st.none()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(texts, max_size=30),
    LIMITS,
    st.integers(1, 12),
    st.sampled_from([True, False]),
    st.sampled_from(["PLAIN", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"]),
    st.sampled_from([pa.string(), pa.binary(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]),
)
def test_files_of_rows(
    values: list[str | None], limits: tuple[int, int], group: int, dictionary: bool, encoding: str, dtype: pa.DataType
) -> None:
    # Arrow cannot decode this pair: to it the rows are damaged, and by the footer each is a reject of its own.
    assume(dictionary or encoding != "DELTA_LENGTH_BYTE_ARRAY" or not pa.types.is_dictionary(dtype))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        table = pa.table({"text": pa.array(values, pa.string()).cast(dtype), "pair": list(map(str, values))})
        pq.write_table(
            table,
            path,
            row_group_size=group,
            use_dictionary=dictionary,
            column_encoding=None if dictionary else {"text": encoding},
            data_page_size=16,
        )
        last = Path(folder) / "last.jsonl"
        last.write_text('{"text": "a", "pair": "b"}\n')
        spec = CorpusSpec((shard_of(path, Format.PARQUET), shard_of(last, Format.JSONL)), pair_column="pair")
        ranges = check(spec, limits)
        if limits[1] == 2**25 and (dictionary or encoding != "DELTA_BYTE_ARRAY") and values:
            assert not ranges.read


def test_a_dictionary_bounds_rows_by_its_longest_entry(tmp_path: Path) -> None:
    """A page of a few bytes says the same long text for each row: its size would not tell that a batch is full."""
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": ["long " * 200] * 50}), path)
    spec = CorpusSpec((shard_of(path, Format.PARQUET),))
    assert check(spec, (20, 5000)).read == 10
    assert check(spec, (5, 5000)).scanned == 10


def test_what_cannot_be_scanned_is_read(tmp_path: Path) -> None:
    rows = [{"text": f"a text, and {number}"} for number in range(20)]
    table = tmp_path / "a.csv"
    table.write_text("text\n" + "".join(f'"a text,\nand {number}"\n' for number in range(20)))
    arrow = tmp_path / "b.arrow"
    with pa.ipc.new_file(arrow, pa.schema([("text", pa.string())])) as writer:
        writer.write_table(pa.Table.from_pylist(rows))
    whole = tmp_path / "c.jsonl"
    whole.write_text("".join(json.dumps(row) + "\n" for row in rows))
    cut = tmp_path / "d.jsonl.gz"
    cut.write_bytes(gzip.compress(whole.read_bytes())[:-30])
    damaged = tmp_path / "e.parquet"
    damaged.write_bytes(b"PAR1 and no footer")
    shards = (
        shard_of(table, Format.CSV),
        shard_of(arrow, Format.ARROW),
        shard_of(whole, Format.JSONL),
        shard_of(cut, Format.JSONL, "gzip"),
        shard_of(damaged, Format.PARQUET),
        shard_of(whole, Format.JSONL),
    )
    ranges = check(CorpusSpec(shards), (6, 2**25))
    assert ranges.scanned > 0 < ranges.read
    assert check(CorpusSpec((shard_of(whole, Format.TEXT),), whole_files=True), (6, 2**25)).read == 1


def test_rows_that_cannot_be_read_are_rejects_one_by_one(tmp_path: Path) -> None:
    """The footer promised them when they were planned: what comes after them keeps its place."""
    path, after = tmp_path / "rows.parquet", tmp_path / "after.jsonl"
    rows = [{"id": f"row-{number}", "text": f"text {number} " + "x" * 40} for number in range(60)]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=20, use_dictionary=False, compression="none")
    after.write_text('{"id": "after", "text": "all that"}\n')
    data = bytearray(path.read_bytes())
    column = pq.read_metadata(path).row_group(1).column(1)
    place = column.data_page_offset + column.total_compressed_size // 2
    data[place : place + 300] = b"\xff" * 300
    path.write_bytes(data)
    spec = RunSpec(
        corpus=CorpusSpec((shard_of(path, Format.PARQUET), shard_of(after, Format.JSONL))),
        model=MODEL,
        features=(embedding_feature(MODEL, Pooling.MEAN),),
        max_tokens=512,
        dtype=Dtype.FLOAT32,
        batch_documents=7,
    )
    store = Store(tmp_path / "out")
    store.create()
    planner = Planner(store, spec)
    entries = list(planner.ranges())
    assert [entry.count for entry in entries if isinstance(entry, PlanEntry)] == [7] * 8 + [5]
    batches_read = [planner.read(entry) for entry in entries if isinstance(entry, PlanEntry)]
    assert [batch.end for batch in batches_read] == [entry.end for entry in entries]
    items = [item for batch in batches_read for item in batch.items]
    lost = [item for item in items if isinstance(item, Reject) and item.reason is Reason.DAMAGED_FILE]
    assert 20 <= lost[0].origin.offset < 40
    assert [item.origin.offset for item in lost] == list(range(lost[0].origin.offset, 42))  # where a batch ends
    assert [item.id for item in lost] == [f"rows.parquet#{item.origin.offset}" for item in lost]
    others = [item.id for item in items if item not in lost]
    assert others == [f"row-{n}" for n in range(60) if not lost[0].origin.offset <= n < 42] + ["after"]


def test_batches_here_and_there_are_read_alike(tmp_path: Path) -> None:
    """A worker gets some batches of a row group, and goes on in it where it was, whatever lies in between."""
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": [f"text {number}" for number in range(200)]}), path, row_group_size=90)
    spec = CorpusSpec((shard_of(path, Format.PARQUET),))
    places = [entry.start for entry in plan(spec, (10, 2**25))[0]]
    for order in ([0, 1, 4, 8, 9, 12, 19], [3, 2, 2, 15, 16, 0], [8, 9, 10, 18]):
        for number in order:
            with open_corpus(spec, places[number]) as reader:
                # all are documents
                texts = [next(steps).text for steps in [iter(reader)] for _ in range(10)]  # type: ignore[union-attr]
            assert texts == [f"text {row}" for row in range(10 * number, 10 * number + 10)]
