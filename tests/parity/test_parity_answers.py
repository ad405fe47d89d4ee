"""Answers are those that a plain search over the logits of transformers finds, window by window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from parity.conftest import LONG, ODD_TEXTS, documents
from parity.head_models import add_question_answering
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from pipelines.assembly import Extracted
from pipelines.documents import Batch, Reason
from pipelines.extract import Extractor
from pipelines.roberta.checkpoint import find
from pipelines.spec import AnswerOptions, CorpusSpec, Dtype, RunSpec, answer_feature

MODEL_TYPES = ("roberta", "xlm-roberta", "camembert")
TOLERANCE = 1e-5 * 10  # of sums of two logits, which are about ten


@pytest.fixture(scope="module")
def readers(checkpoints: dict[str, tuple[Path, Path]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A question answering model on the encoder of each model type."""
    root = tmp_path_factory.mktemp("readers")
    return {kind: add_question_answering(checkpoints[kind][0], root / kind) for kind in MODEL_TYPES}


def extract(
    folder: Path, questions: list[str], contexts: list[str | None], options: AnswerOptions, max_tokens: int
) -> Extracted:
    model = find(str(folder))
    spec = RunSpec(
        CorpusSpec(()), model, (answer_feature(model, None, options),), max_tokens, Dtype.FLOAT32, 512
    )  # fmt: skip
    return Extractor(spec, token_budget=900).extract(Batch(0, 0, list(documents(questions, contexts))))


def windows_of(folder: Path, question: str, context: str, options: AnswerOptions, max_tokens: int) -> Iterator[Any]:
    """For each window: logits, and for each token of the context its number in the row and its characters."""
    tokenizer = AutoTokenizer.from_pretrained(folder, split_special_tokens=True)
    head = tokenizer(question)["input_ids"]
    room = max_tokens - len(head) - 2
    stride = min(options.stride, room // 2)
    found = tokenizer(context, add_special_tokens=False, return_offsets_mapping=True)
    model = AutoModelForQuestionAnswering.from_pretrained(folder).eval()
    begin = 0
    while True:
        ids = found["input_ids"][begin : begin + room]
        row = [*head, head[-1], *ids, head[-1]]
        with torch.inference_mode():
            output = model(input_ids=torch.tensor([row]))
        places = found["offset_mapping"][begin : begin + room]
        first = len(head) + 1
        yield output.start_logits[0].numpy(), output.end_logits[0].numpy(), first, places
        if begin + room >= len(found["input_ids"]):
            return
        begin += room - stride


def search(folder: Path, question: str, context: str, options: AnswerOptions, max_tokens: int) -> dict[str, Any]:
    """The best answer of all windows by trying every one."""
    best: tuple[float, int, int] | None = None
    none = np.inf
    for starts, ends, first, places in windows_of(folder, question, context, options, max_tokens):
        none = min(none, float(starts[0] + ends[0]))
        for begin in range(len(places)):
            for end in range(begin, min(begin + options.max_answer_tokens, len(places))):
                if any(places[token][0] == places[token][1] for token in (begin, end)):
                    continue
                score = float(starts[first + begin] + ends[first + end])
                if best is None or score > best[0]:
                    best = score, places[begin][0], places[end][1]
    given = best is not None and (options.always or best[0] >= none)
    return {
        "answer": context[best[1] : best[2]] if best and given else None,
        "answer_score": best[0] if best else None,
        "answer_begin": best[1] if best and given else None,
        "answer_end": best[2] if best and given else None,
        "no_answer_score": none,
    }


def check(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for name in ("answer", "answer_begin", "answer_end"):
        assert found[name] == wanted[name], (found, wanted)
    for name in ("answer_score", "no_answer_score"):
        assert found[name] == (None if wanted[name] is None else pytest.approx(wanted[name], abs=TOLERANCE))


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_answers_are_those_of_a_plain_search(model_type: str, readers: dict[str, Path], texts: list[str]) -> None:
    contexts = [*texts[100:110], *ODD_TEXTS, LONG]
    questions = [texts[number][:24] if number % 3 else "who turns it?" for number in range(len(contexts))]
    options = AnswerOptions(stride=10, max_answer_tokens=8)
    result = extract(readers[model_type], questions, [*contexts], options, 90)

    assert result.rejects == []
    rows = result.table.to_pylist()
    for row, question, context in zip(rows, questions, contexts, strict=True):
        check(row, search(readers[model_type], question, context, options, 90))
    assert any(row["answer"] is None for row in rows)
    assert len({row["answer"] for row in rows}) > 5

    always = replace(options, always=True)
    told = extract(readers[model_type], questions, [*contexts], always, 90).table
    for row, question, context in zip(told.to_pylist(), questions, contexts, strict=True):
        check(row, search(readers[model_type], question, context, always, 90))
        assert (row["answer"] is None) == (row["answer_score"] is None)
    scores = ["answer_score", "no_answer_score"]
    assert told.select(scores).equals(result.table.select(scores))


@pytest.mark.parametrize(("stride", "most", "max_tokens"), [(0, 1, 40), (128, 30, 40), (12, 500, 60), (5, 30, 198)])
def test_windows_of_any_size_hide_no_answer(stride: int, most: int, max_tokens: int, readers: dict[str, Path]) -> None:
    options = AnswerOptions(stride, most)
    context = LONG[:900] + " and nothing else at all"
    result = extract(readers["roberta"], ["what is measured?"], [context], options, max_tokens)
    check(result.table.to_pylist()[0], search(readers["roberta"], "what is measured?", context, options, max_tokens))


def test_what_cannot_be_asked_is_set_aside(readers: dict[str, Path], texts: list[str]) -> None:
    questions = ["who?", "who?", "the water " * 40, "the water " * 40, texts[0]]
    contexts = [None, "", "it", texts[50] * 9, texts[1]]
    result = extract(readers["roberta"], questions, contexts, AnswerOptions(), 100)

    assert [(reject.id, reject.reason) for reject in result.rejects] == [("0", Reason.UNFIT), ("3", Reason.TOO_LONG)]
    assert "context" in result.rejects[0].detail
    assert "it may take 75 of the 100" in result.rejects[1].detail
    empty, *_ = result.table.to_pylist()
    assert empty["id"] == "1"
    assert [empty[name] for name in ("answer", "answer_score", "answer_begin", "answer_end")] == [None] * 4
    assert empty["no_answer_score"] is not None


def test_a_question_is_the_same_in_any_company(readers: dict[str, Path], texts: list[str]) -> None:
    questions, contexts = texts[:20], [text * 3 for text in texts[40:60]]
    together = extract(readers["roberta"], questions, [*contexts], AnswerOptions(), 198).table.to_pylist()
    for number in range(0, 20, 5):
        result = extract(readers["roberta"], [questions[number]], [contexts[number]], AnswerOptions(), 198)
        (alone,) = result.table.to_pylist()
        assert alone["answer"] == together[number]["answer"]
        assert alone["answer_score"] == pytest.approx(together[number]["answer_score"], abs=1e-4)
