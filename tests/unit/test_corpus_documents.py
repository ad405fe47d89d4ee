"""What each format makes of its lines, records and rows: documents, ids, origins and rejects with their evidence."""

import hashlib
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.corpus import CorpusOptions, discover, open_corpus
from pipelines.corpus import lines as corpus_lines
from pipelines.documents import Document, Origin, Reason, Stage
from pipelines.errors import InputError
from pipelines.spec import Format


def read(path, **options):
    return list(open_corpus(discover([str(path)], CorpusOptions(**options))))


def write(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def outcome(item):
    return item.text if isinstance(item, Document) else item.reason


def test_utf16_among_json_lines_is_refused_only_where_the_format_is_guessed(tmp_path):
    write(tmp_path, "a.jsonl", '{"text": "a"}\n')
    write(tmp_path, "b.jsonl", '{"text": "b"}\n{"text": "c"}\n'.encode("utf-16"))
    with pytest.raises(InputError, match=r"b\.jsonl is UTF-16 text"):
        read(tmp_path)
    items = read(tmp_path, format=Format.JSONL)
    assert outcome(items[0]) == "a"
    assert {outcome(item) for item in items[1:]} <= {Reason.BAD_JSON, Reason.BAD_ENCODING}
    assert len(items) >= 3
    write(tmp_path, "c.txt", "c\n".encode("utf-16"))
    with pytest.raises(InputError, match=r"c\.txt is UTF-16 text"):
        read(tmp_path / "c.txt", format=Format.TEXT)


def test_json_lines(tmp_path):
    lines = [
        '{"id": "x", "text": " a "}',
        "",
        "  ",
        '{"text": "b"}',
        "[1]",
        "nope",
        '{"text": null}',
        '{"text": " "}',
        '{"text": 5}',
    ]
    path = write(tmp_path, "a.jsonl", "\r\n".join(lines))
    items = read(path)
    wanted = [" a ", "b", "not_an_object", "bad_json", "missing_text", "empty_text", "wrong_type"]
    assert [outcome(item) for item in items] == wanted
    assert items[0] == Document("x", " a ", None, Origin(str(path), 0, 1))
    start = path.read_bytes().index(b'{"text": "b"}')
    assert items[1] == Document(f"a.jsonl#{start}", "b", None, Origin(str(path), start, 4))
    bad = items[3]
    assert (bad.stage, bad.origin.line, bad.excerpt, bad.attempts) == (Stage.READ, 6, "nope\r", 0)
    assert bad.text_sha256 == hashlib.sha256(b"nope\r").hexdigest()
    assert "a number" in items[6].detail


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        *(("s", "s"), ("", ""), (7, "7"), (1.5, "1.5"), (True, "true"), (None, "a.jsonl#0")),
        *((number, str(number)) for number in (2**63, 2**64 - 1, 2**64, 2**64 + 1, -(2**63) - 1, 10**30, 3 * 10**200)),
    ],
)
def test_ids(tmp_path, value, wanted):
    path = write(tmp_path, "a.jsonl", json.dumps({"key": value, "text": "t"}))
    assert [item.id for item in read(path, id_column="key")] == [wanted]


def test_an_id_that_is_a_list_is_a_reject_with_a_made_id(tmp_path):
    (item,) = read(write(tmp_path, "a.jsonl", '{"id": [1], "text": "t"}'))
    assert (item.id, item.reason, item.detail) == (
        "a.jsonl#0",
        Reason.WRONG_TYPE,
        "column 'id' is an array, wanted text",
    )


def test_several_text_columns_and_pairs(tmp_path):
    rows = [
        {"t": "a", "b": "c", "p": "x"},
        {"t": None, "b": "c", "p": "x"},
        {"b": "c", "p": ""},
        {"p": "x"},
        {"t": "a", "b": 1, "p": "x"},
        {"t": "a"},
        {"t": "a", "p": 3},
    ]
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    items = read(path, text_columns=("t", "b"), pair_column="p")
    wanted = ["a\nc", "c", "c", "missing_text", "wrong_type", "missing_text", "wrong_type"]
    assert [outcome(item) for item in items] == wanted
    assert [item.pair for item in items[:3]] == ["x", "x", ""]
    assert "'p'" in items[5].detail


def test_text_lines(tmp_path):
    path = write(tmp_path, "a.txt", b"\xef\xbb\xbffirst\r\n\r\n \t\n second \nlast\xff\nend")
    spec = discover([str(path)], CorpusOptions())
    reader = open_corpus(spec)
    items = list(reader)
    assert [outcome(item) for item in items] == ["first", " second ", "bad_encoding", "end"]
    assert [item.origin[1:] for item in items] == [(3, 1), (15, 4), (24, 5), (30, 6)]
    assert items[2].excerpt == "last\\xff"
    assert reader.cursor.blank_lines == 2
    assert items[0].id == "a.txt#3"


def test_whole_files(tmp_path):
    write(tmp_path, "a.html", b"\xef\xbb\xbf<p>\none</p>\n")
    write(tmp_path, "b.json", b"{}")
    write(tmp_path, "c.txt", b"")
    items = read(tmp_path, whole_files=True)
    assert [outcome(item) for item in items] == ["<p>\none</p>\n", "{}", "empty_text"]
    assert [item.id for item in items] == ["a.html#0", "b.json#0", "c.txt#0"]


@pytest.mark.parametrize(("name", "comma"), [("a.csv", ","), ("a.tsv", "\t")])
def test_delimited(tmp_path, name, comma):
    data = 'id,text,n\r\n1,plain,x\r\n2,"two\r\nlines ""q""",y\n\n3,short\n4,a,b,c\n5,,z\n'.replace(",", comma)
    path = write(tmp_path, name, data)
    items = read(path)
    assert [outcome(item) for item in items] == ["plain", 'two\r\nlines "q"', "bad_row", "bad_row", "empty_text"]
    assert [item.origin.line for item in items] == [2, 3, 6, 7, 8]
    assert path.read_bytes()[items[1].origin.offset :].startswith(b"2")
    assert [item.detail for item in items[2:4]] == ["2 fields, wanted 3", "4 fields, wanted 3"]
    assert items[4].id == "5"


def test_delimited_without_a_header(tmp_path):
    path = write(tmp_path, "a.csv", "one,1\ntwo,2\nthree\n")
    items = read(path, header=False, text_columns=("0",), id_column="1")
    assert [outcome(item) for item in items] == ["one", "two", "bad_row"]
    assert [item.id for item in items[:2]] == ["1", "2"]


def test_a_quote_that_never_ends_is_one_bad_row(tmp_path):
    (good, bad) = read(write(tmp_path, "a.csv", 'text\nfine\n"open\nand\non\n'))
    assert (good.text, bad.reason, bad.origin.line) == ("fine", Reason.BAD_ROW, 3)
    assert "never ends" in bad.detail


def test_stray_quotes_of_tsv_files_are_characters(tmp_path):
    rows = ["label\ttext", '1\t"open', '0\t"He said" and left', '1\t"whole"', '0\t"a\nb"', '"x"\ty', '"1\tlast']
    items = read(write(tmp_path, "a.tsv", "\n".join(rows)))
    assert [item.text for item in items] == ['"open', '"He said" and left', "whole", "a\nb", "y", "last"]


def test_rows(tmp_path):
    columns = {
        "id": pa.array([1, None, 3, 4, 5], pa.int32()),
        "text": pa.array([b"a", b"b", None, b"\xff", b" "], pa.binary()).view(pa.string()),
    }
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(columns), path)
    items = read(path)
    assert [outcome(item) for item in items] == ["a", "b", "missing_text", "bad_encoding", "empty_text"]
    assert [item.id for item in items] == ["1", "a.parquet#1", "3", "4", "5"]
    assert [item.origin.offset for item in items] == [0, 1, 2, 3, 4]
    assert items[3].text_sha256 == hashlib.sha256(b"\xff").hexdigest()


@pytest.mark.parametrize("kind", ["large_string", "string_view", "binary", "large_binary", "dictionary"])
def test_texts_of_every_arrow_type(tmp_path, kind):
    column = pa.array(["a", None, "é"])
    column = column.dictionary_encode() if kind == "dictionary" else column.cast(getattr(pa, kind)())
    path = tmp_path / "a.arrow"
    table = pa.table({"text": column})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    assert [outcome(item) for item in read(path)] == ["a", "missing_text", "é"]


def test_numbers_are_no_text(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [1, 2]}), path)
    assert [outcome(item) for item in read(path)] == ["wrong_type"] * 2


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt", "a.csv"])
def test_other_encodings(tmp_path, name):
    head = {"a.jsonl": '{{"text": "{}"}}', "a.txt": "{}", "a.csv": "text\n{}"}[name]
    path = write(tmp_path, name, head.format("naïve").encode("latin-1"))
    assert [outcome(item) for item in read(path, encoding="latin-1")] == ["naïve"]
    assert [outcome(item) for item in read(path)] == ["bad_encoding"]


@pytest.mark.parametrize("escape", ["\\ud800", "\\udc00", "\\ud800\\u0041"])
def test_lone_surrogates_are_rejects_that_can_be_stored(tmp_path, escape):
    (item,) = read(write(tmp_path, "a.jsonl", f'{{"text": "{escape}"}}'))
    assert item.reason is Reason.BAD_ENCODING
    assert escape in item.excerpt
    for value in (item.id, item.detail, item.excerpt):
        value.encode()


@pytest.mark.parametrize("ended", [True, False])
def test_long_lines_go_by_without_being_held(tmp_path, monkeypatch, ended):
    monkeypatch.setattr(corpus_lines, "MAX_LINE_BYTES", 100)
    monkeypatch.setattr("pipelines.corpus.blocks.BLOCK_BYTES", 64)
    long = b'{"text": "' + b"x" * 300 + b'"}'
    data = b'{"text": "a"}\n' + long + b"\n" + (b'{"text": "b"}\n' if ended else b"")
    items = read(write(tmp_path, "a.jsonl", data[: None if ended else -1]))
    assert [outcome(item) for item in items] == (["a", "too_long", "b"] if ended else ["a", "too_long"])
    assert items[1].text_sha256 == hashlib.sha256(long).hexdigest()
    assert str(len(long)) in items[1].detail
    if ended:
        assert items[2].origin == Origin(str(tmp_path / "a.jsonl"), 14 + len(long) + 1, 3)


def test_a_line_of_16_mb_is_read_and_one_byte_more_is_not(tmp_path):
    fits = corpus_lines.MAX_LINE_BYTES
    data = b"\n".join([b"x" * fits, b"y" * (fits + 1), b"z"])
    assert [
        len(item.text) if isinstance(item, Document) else item.reason for item in read(write(tmp_path, "a", data))
    ] == [
        fits,
        "too_long",
        1,
    ]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv", "text"])
def test_empty_files_have_no_documents(tmp_path, kind):
    assert read(write(tmp_path, "empty", b""), format=Format(kind)) == []
