"""Columns within columns, and columns that travel with the documents for a feature."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.corpus import CorpusOptions, discover, open_corpus, parse_keep
from pipelines.corpus.scan import UnscannableError
from pipelines.corpus.scanning import open_scan
from pipelines.documents import Document, Reason, Reject
from pipelines.errors import InputError, UsageError
from pipelines.spec import Attached, CorpusSpec, Dtype, ModelRef, Role, RunSpec, from_json, to_json

ROWS: list[dict[str, Any]] = [
    {
        "id": "a",
        "question": {
            "stem": "Where is a bank?",
            "choices": [{"label": "A", "text": "here"}, {"label": "B", "text": "é"}],
        },
    },
    {"id": "b", "question": {"stem": "And a mill?", "choices": [{"label": "A", "text": "there"}]}},
    {"id": "c", "question": None},
]
CHOICES = (Attached(Role.CHOICES, "question.choices"),)


def write(folder: Path, kind: str, rows: list[dict[str, Any]] = ROWS) -> Path:
    path = folder / f"corpus.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        table = pa.Table.from_pylist(rows)
        with pa.ipc.new_file(path, table.schema) as file:
            file.write_table(table)
    return path


def read(path: Path, **options: Any) -> list[Document | Reject]:
    return list(open_corpus(discover([str(path)], CorpusOptions(**options))))


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "arrow"])
def test_a_dotted_name_leads_into_a_column(tmp_path: Path, kind: str) -> None:
    items = read(
        write(tmp_path, kind),
        text_columns=("question.stem",),
        attached=CHOICES,
        keep=(parse_keep("question.stem=stem"),),
    )
    first, second, third = items
    assert isinstance(first, Document)
    assert isinstance(second, Document)
    assert (first.id, first.text, first.kept) == ("a", "Where is a bank?", ("Where is a bank?",))
    assert json.loads(first.pair or "") == {"choices": ROWS[0]["question"]["choices"]}
    assert json.loads(second.pair or "") == {"choices": ROWS[1]["question"]["choices"]}
    assert isinstance(third, Reject)
    assert (third.reason, third.id) == (Reason.MISSING_TEXT, "c")


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_column_that_is_called_so_comes_first(tmp_path: Path, kind: str) -> None:
    rows = [{"question.stem": "the column", "question": {"stem": "the object"}}]
    (item,) = read(write(tmp_path, kind, rows), text_columns=("question.stem",))
    assert isinstance(item, Document)
    assert item.text == "the column"


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("name", ["question.stern", "question.stem.more", "id.stem", "."])
def test_a_dotted_name_that_leads_nowhere_is_refused(tmp_path: Path, kind: str, name: str) -> None:
    with pytest.raises(InputError, match="has no column"):
        read(write(tmp_path, kind), text_columns=(name,))


def test_an_attached_column_that_is_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no column 'question\.options'"):
        read(write(tmp_path, "jsonl"), text_columns=("id",), attached=(Attached(Role.CHOICES, "question.options"),))


def test_attached_columns_travel_by_role_and_missing_ones_as_null(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"text": "x", "options": ["a", "b"], "article": "long"},
        {"text": "y", "options": '["c"]'},
    ]
    attached = (Attached(Role.CHOICES, "options"), Attached(Role.CONTEXT, "article"))
    found = [
        item.pair for item in read(write(tmp_path, "jsonl", rows), attached=attached) if isinstance(item, Document)
    ]
    assert [json.loads(pair or "") for pair in found] == [
        {"choices": ["a", "b"], "context": "long"},
        {"choices": '["c"]', "context": None},
    ]
    with pytest.raises(UsageError, match="--pair-column cannot be had"):
        read(write(tmp_path, "jsonl", rows), attached=attached, pair_column="article")


def test_bytes_are_texts_wherever_they_are_text(tmp_path: Path) -> None:
    path = tmp_path / "corpus.parquet"
    choices = pa.array([[b"caf\xc3\xa9", b"bar"], [b"\xff"]], pa.list_(pa.binary()))
    pq.write_table(pa.table({"text": ["x", "y"], "choices": choices}), path)
    first, second = read(path, attached=(Attached(Role.CHOICES, "choices"),))
    assert isinstance(first, Document)
    assert json.loads(first.pair or "") == {"choices": ["café", "bar"]}
    assert isinstance(second, Reject)
    assert second.reason is Reason.BAD_ENCODING


def test_bytes_that_are_no_text_are_rejected_wherever_they_travel(tmp_path: Path) -> None:
    path = tmp_path / "corpus.parquet"
    choices = pa.array([b"\xff\xfe"]).view(pa.string())
    pq.write_table(pa.table({"text": ["x"], "choices": choices}), path)
    (item,) = read(path, attached=(Attached(Role.CHOICES, "choices"),))
    assert isinstance(item, Reject)
    assert item.reason is Reason.BAD_ENCODING


def test_what_is_attached_is_read_and_never_scanned(tmp_path: Path) -> None:
    path = write(tmp_path, "parquet")
    for options in (
        CorpusOptions(text_columns=("question.stem",)),
        CorpusOptions(text_columns=("id",), attached=CHOICES),
    ):
        spec = discover([str(path)], options)
        with pytest.raises(UnscannableError):
            open_scan(spec.shards[0], spec, 0, 0)


def test_a_spec_says_what_is_attached_only_where_something_is() -> None:
    model = ModelRef("m", "/m", "", "roberta", "0" * 64, "1" * 64, "2" * 64, 8, 10)
    plain = RunSpec(CorpusSpec(()), model, (), 8, Dtype.FLOAT32, 4)
    assert "attached" not in to_json(plain)["corpus"]
    attached = RunSpec(CorpusSpec((), attached=CHOICES), model, (), 8, Dtype.FLOAT32, 4)
    assert from_json(json.loads(json.dumps(to_json(attached)))) == attached
    assert attached.fingerprint() != plain.fingerprint()
