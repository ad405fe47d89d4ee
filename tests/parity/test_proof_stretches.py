"""The proof of spans and answers: nothing against rows that are right, something against those that are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from parity.conftest import LONG, documents
from parity.head_models import add_question_answering, add_token_classifier

from pipelines.documents import Batch
from pipelines.extract import Extractor
from pipelines.proof.compare import BOUNDS, Comparison
from pipelines.proof.oracle import Oracle, Sight
from pipelines.proof.stretches import compare_stretches
from pipelines.proof.subjects import Subject
from pipelines.roberta.checkpoint import find
from pipelines.roberta.needed_head import token_labels
from pipelines.spec import (
    TRUNCATED,
    Aggregation,
    AnswerOptions,
    CorpusSpec,
    Dtype,
    Long,
    LongTexts,
    RunSpec,
    SpansOptions,
    answer_feature,
    spans_feature,
)

LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
Change = Callable[[dict[str, Any]], None]


def proved(spec: RunSpec, texts: list[str], pairs: list[str | None] | None = None, change: Change | None = None) -> str:
    """What the proof has against the rows that the engine computes, or against what becomes of them."""
    there = list(documents(texts, pairs))
    result = Extractor(spec, token_budget=700).extract(Batch(0, 0, there))
    assert result.rejects == []
    comparison = Comparison(BOUNDS[spec.dtype], documents=len(there))
    sight, oracle = Sight(spec.model), Oracle(spec.model, classifies=False)
    for document, row in zip(there, result.table.to_pylist(), strict=True):
        if not sight.reads_alike(document.text, document.pair):
            continue
        if change is not None:
            change(row)
        rows = sight.rows(spec.prefix + document.text, document.pair, spec.max_tokens, spec.long)
        computed = [oracle.compute(ids) for ids in rows]
        compare_stretches(comparison, Subject(document, row, "here"), spec.features, computed, spec, sight, oracle)
    return comparison.worst()


def spans_spec(folder: Path, aggregation: Aggregation, long: LongTexts = TRUNCATED, prefix: str = "") -> RunSpec:
    model = find(str(folder))
    feature = spans_feature(model, None, SpansOptions(token_labels(model), aggregation))
    return RunSpec(CorpusSpec(()), model, (feature,), 60, Dtype.FLOAT32, 512, prefix=prefix, long=long)


@pytest.fixture(scope="module")
def taggers(checkpoints: dict[str, tuple[Path, Path]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("taggers")
    return {kind: add_token_classifier(checkpoints[kind][0], root / kind, LABELS) for kind in checkpoints}


@pytest.mark.parametrize("model_type", ["roberta", "xlm-roberta"])
@pytest.mark.parametrize("aggregation", Aggregation)
def test_spans_that_are_right_pass(
    model_type: str, aggregation: Aggregation, taggers: dict[str, Path], odd_texts: Callable[[str], list[str]]
) -> None:
    texts = odd_texts(model_type)[:27]
    assert proved(spans_spec(taggers[model_type], aggregation, prefix="read: "), texts) == ""
    window = LongTexts(Long.WINDOW, 12)
    assert proved(spans_spec(taggers[model_type], aggregation, window), [LONG[:600], texts[3]]) == ""


def relabel(row: dict[str, Any]) -> None:
    for span in row["spans"]:
        span["label"] = {"PER": "LOC", "LOC": "PER"}[span["label"]]


def shift(row: dict[str, Any]) -> None:
    for span in row["spans"]:
        span["begin"], span["end"] = span["begin"] + 3, span["end"] + 3


def lose(row: dict[str, Any]) -> None:
    row["spans"] = row["spans"][1:]


def doubt(row: dict[str, Any]) -> None:
    for span in row["spans"]:
        span["score"] *= 0.9


@pytest.mark.parametrize("change", [relabel, shift, lose, doubt])
def test_spans_that_are_wrong_do_not_pass(change: Change, taggers: dict[str, Path], texts: list[str]) -> None:
    assert "plain transformers" in proved(spans_spec(taggers["roberta"], Aggregation.FIRST), texts[:3], change=change)


@pytest.fixture(scope="module")
def asked(checkpoints: dict[str, tuple[Path, Path]], tmp_path_factory: pytest.TempPathFactory) -> RunSpec:
    folder = add_question_answering(checkpoints["roberta"][0], tmp_path_factory.mktemp("reader") / "reader")
    model = find(str(folder))
    return RunSpec(CorpusSpec(()), model, (answer_feature(model, None, AnswerOptions(9)),), 80, Dtype.FLOAT32, 512)


def test_answers_are_proved_in_every_window(asked: RunSpec, texts: list[str]) -> None:
    questions, contexts = ["who?", "what turns it?", "why?", "what?"], [texts[0], LONG[:900], "", "water"]
    assert proved(asked, questions, [*contexts]) == ""
    for wide in (4, 128):
        options = AnswerOptions(stride=wide, max_answer_tokens=3, always=wide == 4)
        spec = replace(asked, features=(answer_feature(asked.model, None, options),))
        assert proved(spec, questions, [*contexts]) == ""


@pytest.mark.parametrize("always", [False, True])
def test_an_answer_that_is_held_back_or_made_up_does_not_pass(always: bool, asked: RunSpec, texts: list[str]) -> None:
    def change(row: dict[str, Any]) -> None:
        row["answer"] = "the wheel" if row["answer"] is None else None

    feature = answer_feature(asked.model, None, AnswerOptions(9, always=always))
    found = proved(replace(asked, features=(feature,)), ["who?", "what?"], [texts[0], texts[7]], change)
    assert "answer', plain transformers says 'an answer' by" in found or "says 'no answer' by" in found


@pytest.mark.parametrize("column", ["answer_score", "no_answer_score"])
def test_scores_that_are_wrong_do_not_pass(column: str, asked: RunSpec, texts: list[str]) -> None:
    def change(row: dict[str, Any]) -> None:
        row[column] += 0.5

    assert "in its scores apart by" in proved(asked, ["who?"], [texts[0]], change)
