"""Spans and answers as a black box sees them: from a corpus to a sealed dataset, here and by workers."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from acceptance.commands import write_jsonl
from acceptance.conftest import OPTIONS, Ask
from chaos.disturbance import rows
from parity.head_models import add_question_answering, add_token_classifier

SPANS = "list<struct<label: string, score: float, begin: int32, end: int32, text: string>>"


@pytest.fixture(scope="module")
def tagger(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    labels = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
    return add_token_classifier(tiny_model, tmp_path_factory.mktemp("model") / "tagger", labels)


@pytest.fixture(scope="module")
def reader(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return add_question_answering(tiny_model, tmp_path_factory.mktemp("model") / "reader")


def kind(table: pa.Table, column: str) -> str:
    return str(table.schema.field(column).type).replace("item: ", "").replace("element: ", "")


def test_spans_of_long_texts_are_places_in_them(tagger: Path, texts: list[str], tmp_path: Path, ask: Ask) -> None:
    documents = [" ".join(texts[number : number + 12]) for number in range(0, 48, 12)] + texts[:20]
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": text} for text in documents])
    answer = ask(
        *("run", corpus, "--out", tmp_path / "out", "--model", tagger, *OPTIONS, "--inline", "--embed", "mean"),
        *("--spans", "self", "--spans", f"first={tagger}", "--long", "window", "--max-tokens", 40, "--stride", 8),
        *("--prefix", "read: ", "--keep", "text", "--proof", 2),
    )
    assert answer.code == 0, answer.err
    assert "Proof: 2 documents once more by transformers" in answer.out
    assert "0 other labels" in answer.out
    table = rows(tmp_path / "out")
    assert table.column_names[:4] == ["id", "embedding", "spans", "first_spans"]
    assert kind(table, "spans") == kind(table, "first_spans") == SPANS
    assert table["n_windows"].to_pylist()[0] > 4
    assert table["spans"].to_pylist() == table["first_spans"].to_pylist()
    for row in table.to_pylist():
        assert row["spans"]
        for span in row["spans"]:
            assert span["label"] in ("PER", "LOC")
            assert 0 < span["score"] <= 1
            assert row["text"][span["begin"] : span["end"]] == span["text"]
        assert row["spans"] == sorted(row["spans"], key=lambda span: (span["begin"], span["end"]))
    assert ask("verify", tmp_path / "out").code == 0


def test_answers_come_from_workers_as_they_come_from_here(
    reader: Path, texts: list[str], tmp_path: Path, ask: Ask
) -> None:
    documents = [
        {"q": text[:20], "context": " ".join(texts[number : number + 1 + number % 9]) if number % 3 else text[:2]}
        for number, text in enumerate(texts[:60])
    ]
    corpus = write_jsonl(tmp_path / "c.jsonl", [*documents, {"q": "who?", "context": None}])
    job = ("run", corpus, "--model", reader, *OPTIONS, "--answer", "self", "--text-column", "q", "--max-tokens", 60)
    columns = ("--pair-column", "context", "--keep", "context", "--max-answer-tokens", 6, "--stride", 10)
    quarantined = ("--max-quarantined", 1)
    by_workers = ask(*job, *columns, *quarantined, "--out", tmp_path / "out", "--devices", "cpu:1", "--json")
    assert by_workers.code == 0, by_workers.err
    assert (by_workers.value["rows"], by_workers.value["quarantined"]) == (60, 1)
    assert ask("verify", tmp_path / "out").code == 0
    assert "column 'context' is missing or null" in ask("quarantine", "show", tmp_path / "out").out

    table = rows(tmp_path / "out")
    wanted = ["string", "float", "int32", "int32", "float"]
    assert [kind(table, name) for name in table.column_names[1:6]] == wanted
    found = table.to_pylist()
    assert any(row["answer"] is None for row in found)
    for row in found:
        if row["answer"] is None:
            assert row["answer_begin"] is row["answer_end"] is None
            assert row["no_answer_score"] > row["answer_score"]
        else:
            assert row["context"][row["answer_begin"] : row["answer_end"]] == row["answer"] != ""
            assert row["no_answer_score"] <= row["answer_score"]
    assert ask(*job, *columns, *quarantined, "--out", tmp_path / "here", "--inline").code == 0
    assert rows(tmp_path / "here")["answer"].to_pylist() == table["answer"].to_pylist()
    assert ask(*job, *columns, *quarantined, "--out", tmp_path / "all", "--inline", "--always-answer").code == 0
    for always, row in zip(rows(tmp_path / "all").to_pylist(), found, strict=True):
        assert always["answer_score"] == pytest.approx(row["answer_score"], abs=1e-4)
        assert always["context"][always["answer_begin"] : always["answer_end"]] == always["answer"]
        assert row["answer"] in (None, always["answer"])


def test_a_model_that_cannot_is_refused(tiny_model: Path, texts: list[str], tmp_path: Path, ask: Ask) -> None:
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": text, "context": text} for text in texts[:3]])
    job = ("run", corpus, "--out", tmp_path / "out", "--model", tiny_model, "--inline")
    answer = ask(*job, "--spans", "self")
    assert (answer.code, answer.refusal.split(". ")[0]) == (
        3, f"{tiny_model} has no token classifier head, it is an encoder with a pooler head",
    )  # fmt: skip
    answer = ask(*job, "--answer", "self", "--pair-column", "context")
    assert (answer.code, answer.refusal.split(". ")[0]) == (
        3, f"{tiny_model} has no question answering head, it is an encoder with a pooler head",
    )  # fmt: skip
    assert ask(*job, "--answer", "self").code == 2
    assert not (tmp_path / "out").exists()
