"""JSON that parsers disagree about. A reader of lines sees a case with several lines as several documents."""

import os
from pathlib import Path

import pytest

from pipelines.corpus import open_corpus
from pipelines.documents import Document, Reason, Reject
from pipelines.spec import CorpusSpec, Format, Shard

BROKEN = {Reason.BAD_JSON, Reason.BAD_ENCODING}


def read(tmp_path, data: bytes) -> list[Document | Reject]:
    path = tmp_path / "a.jsonl"
    path.write_bytes(data)
    items = list(open_corpus(CorpusSpec((Shard(str(path), "a.jsonl", Format.JSONL, "none", len(data), 0),))))
    for item in items:
        texts = [item.id, item.text] if isinstance(item, Document) else [item.id, item.detail, item.excerpt]
        for text in texts:
            text.encode()
    return items


def suite(prefix: str) -> list[Path]:
    data = os.environ.get("PENSTOCK_TEST_DATA")
    if not data:
        pytest.skip("PENSTOCK_TEST_DATA is not set")
    files = sorted(Path(data, "json_torture").glob(f"{prefix}_*.json"))
    assert files
    return files


def test_what_every_parser_must_accept_is_accepted(tmp_path):
    """JSONTestSuite y_. Line ends between tokens become blanks; what is no object is still read as JSON."""
    for path in suite("y"):
        (item,) = read(tmp_path, path.read_bytes().replace(b"\n", b" "))
        assert isinstance(item, Reject), path.name  # none has a text column
        assert item.reason in {Reason.NOT_AN_OBJECT, Reason.MISSING_TEXT}, path.name


def test_what_every_parser_must_reject_is_rejected(tmp_path):
    """JSONTestSuite n_. One line at least is broken; a case that is all blank holds no document."""
    blank = 0
    for path in suite("n"):
        items = read(tmp_path, path.read_bytes())
        broken = [item for item in items if isinstance(item, Reject) and item.reason in BROKEN]
        blank += not items
        assert broken or not items, path.name
    assert blank == 3  # no data, a single blank, a byte order mark and nothing else


def test_what_parsers_may_decide_is_decided(tmp_path):
    for path in suite("i"):
        assert read(tmp_path, path.read_bytes()), path.name


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "a"} {"text": "b"}', "bad_json"),
        (b'{"text": "a",}', "bad_json"),
        (b"{'text': 'a'}", "bad_json"),
        (b'{"text": NaN}', "bad_json"),
        (b'{"text": "a\tb"}', "bad_json"),
        (b'{"text": "a\x00b"}', "bad_json"),
        (b'{"text": "\\u00"}', "bad_json"),
        (b'{"text": "\\', "bad_json"),
        (b"\x00", "bad_json"),
        (b'{"text": ' + b"[" * 100_000, "bad_json"),
        (b'{"text": ' + b'{"a": ' * 100_000, "bad_json"),
        (b'{"text": "\xed\xa0\x80"}', "bad_encoding"),
        (b'{"text": "\xc0\xaf"}', "bad_encoding"),
        (b'{"text": "\xf4\x90\x80\x80"}', "bad_encoding"),
        (b'{"text": "\\uD800"}', "bad_encoding"),
        (b'{"text": "\\uDFFF\\uD800"}', "bad_encoding"),
        (b'"text"', "not_an_object"),
        (b"null", "not_an_object"),
        (b'{"TEXT": "a"}', "missing_text"),
        (b'{"text": ["a"]}', "wrong_type"),
        (b'{"text": "\\u2003\\u00a0"}', "empty_text"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_refused(tmp_path, line, reason):
    bad, good = read(tmp_path, line + b'\n{"text": "after"}')
    assert isinstance(bad, Reject)
    assert bad.reason == reason
    assert good.text == "after"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b'{"text": "a", "text": "b"}', "b"),
        (b' \t{"text": "a"}\t \r', "a"),
        (b'{"\\u0074ext": "\\ud83d\\ude00"}', "😀"),
        (b'{"text": "\\u0000\\u2028\\uffff"}', "\0\u2028\uffff"),
        (b'{"text": "</s><mask><pad>"}', "</s><mask><pad>"),
        (b'{"text": "a", "n": 1e400}'.replace(b"1e400", b"1e300"), "a"),
        (b'{"text": "a", "n": 123456789012345678901234567890}', "a"),
    ],
)
def test_taken_as_it_stands(tmp_path, line, text):
    (item,) = read(tmp_path, line)
    assert isinstance(item, Document)
    assert item.text == text
