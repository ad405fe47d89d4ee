"""Texts that break programs come out exactly as they went in, whatever the format."""

import csv
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.corpus import CorpusOptions, discover, open_corpus
from pipelines.documents import Document

NASTY = [
    "\ufefftext",
    "a\u2028b\u2029c\x85d\x0be\x0cf",
    "a\x00b",
    "👩‍👩‍👧‍👦 🇩🇪 e\u0301 \u202eright",
    "\U0010ffff\ufffe",
    "  leading and trailing \t",
    "line\nline\r\nline\rline",
    "</s><mask>",
    '"',
    "'; DROP TABLE documents; --",
    "ﷺ" * 500,
    "a" + "\u0335" * 300,
]
"""Separators that Python's splitlines knows are no line ends here."""


def texts_of(path) -> list[str]:
    items = list(open_corpus(discover([str(path)], CorpusOptions())))
    assert all(isinstance(item, Document) for item in items)
    return [item.text for item in items]


def check_all_formats(tmp_path, texts):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    assert texts_of(path) == texts
    path.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts), encoding="utf-8")
    assert texts_of(path) == texts
    for name, delimiter in (("a.csv", ","), ("a.tsv", "\t")):
        path = tmp_path / name
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL)
            writer.writerows([("text", "n"), *((text, n) for n, text in enumerate(texts))])
        assert texts_of(path) == texts
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet")
    assert texts_of(tmp_path / "a.parquet") == texts
    lines = [text for text in texts if "\n" not in text and not text.endswith("\r")]
    path = tmp_path / "a.txt"
    path.write_bytes("".join(line + "\n" for line in ["first", *lines]).encode())
    assert texts_of(path) == ["first", *lines]


def test_nasty_texts(tmp_path):
    check_all_formats(tmp_path, NASTY)


def test_naughty_strings(tmp_path):
    if "PENSTOCK_TEST_DATA" not in os.environ:
        pytest.skip("PENSTOCK_TEST_DATA is not set")
    naughty = json.loads(
        Path(os.environ["PENSTOCK_TEST_DATA"], "naughty_strings", "blns.json").read_text(encoding="utf-8")
    )
    check_all_formats(tmp_path, [text for text in naughty if text.strip()])


def test_file_names_that_are_odd(tmp_path):
    for name in ("naïve 👍.jsonl", "new\nline.jsonl", "#?%20.jsonl", "-.jsonl", "a[0]*.jsonl"):
        path = tmp_path / name
        path.write_text('{"text": "a"}')
        (item,) = open_corpus(discover([str(path)], CorpusOptions()))
        assert item.id == f"{name}#0"
        assert item.origin.uri == str(path)


def test_a_file_name_that_is_no_utf8_is_refused(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff.jsonl"
    with open(path, "wb") as file:
        file.write(b'{"text": "a"}')
    with pytest.raises(Exception, match="not valid UTF-8") as caught:
        discover([os.fsdecode(path)], CorpusOptions())
    str(caught.value).encode()
