"""The best of several choices is that of transformers' heads, in each form that questions are read in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from parity.asked import MODEL_TYPES, TOLERANCE, extracted
from parity.choice_models import add_choice_head
from transformers import (
    AutoModelForMultipleChoice,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from pipelines.assembly import Extracted
from pipelines.documents import Reason
from pipelines.hub import Roberta
from pipelines.roberta.checkpoint import find
from pipelines.spec import (
    ChoiceFormat,
    ChoiceOptions,
    choice_feature,
)

CHOICES = (
    ["the quiet water", "a heavy wheel", "seven gates", "the morning", "nothing at all"],
    ["its own noise", "ünïcödé – “quotes” …"],
    ["one choice alone"],
    ["long " * 150, "short", ""],
)


@pytest.fixture(scope="session")
def choosers(
    checkpoints: dict[str, tuple[Path, Path]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Path]]:
    """Both heads that score choices, for each model type."""
    root = tmp_path_factory.mktemp("choosers")
    return {
        model_type: {
            "multiple choice": add_choice_head(encoder, root / f"{model_type}-multiple"),
            "ranking": add_choice_head(encoder, root / f"{model_type}-ranking", ranking=True),
        }
        for model_type, (encoder, _) in checkpoints.items()
    }


def scores_of_choices(folder: Path, head: str, rows: list[list[int]]) -> npt.NDArray[np.float32]:
    """What transformers' head says of each choice, as probabilities. *Shape:* rows ``[choices][tokens]``."""
    kind = AutoModelForMultipleChoice if head == "multiple choice" else AutoModelForSequenceClassification
    options = {} if head == "multiple choice" else {"num_labels": 1}
    model = kind.from_pretrained(folder, **options).eval()
    with torch.inference_mode():
        ids = [torch.tensor([[row]] if head == "multiple choice" else [row]) for row in rows]
        logits = torch.cat([model(input_ids=one).logits.reshape(-1) for one in ids])
    probabilities: npt.NDArray[np.float32] = torch.softmax(logits, -1).numpy()
    return probabilities


def check_choices(result: Extracted, choices: Sequence[list[str]], wanted: Sequence[npt.NDArray[np.float32]]) -> None:
    assert result.rejects == []
    for row, given, scores in zip(result.table.to_pylist(), choices, wanted, strict=True):
        assert np.abs(np.array(row["choice_scores"], np.float32) - scores).max() <= TOLERANCE
        assert row["choice"] == scores.argmax()
        assert row["choice_text"] == given[row["choice"]]


@pytest.mark.parametrize("model_type", MODEL_TYPES)
@pytest.mark.parametrize("head", ["multiple choice", "ranking"])
def test_choices_are_those_of_transformers(
    model_type: str, head: str, choosers: dict[str, dict[str, Path]], texts: list[str]
) -> None:
    folder = choosers[model_type][head]
    tokenizer = AutoTokenizer.from_pretrained(folder, split_special_tokens=True)
    questions, pairs = texts[:4], [{"choices": choices} for choices in CHOICES]
    feature = choice_feature(find(str(folder)), ChoiceOptions())

    def rows(number: int) -> list[list[int]]:
        first = [questions[number]] * len(CHOICES[number])
        ids: list[list[int]] = tokenizer(first, CHOICES[number], truncation="longest_first", max_length=80)["input_ids"]
        return ids

    wanted = [scores_of_choices(folder, head, rows(number)) for number in range(4)]
    check_choices(extracted(feature, questions, pairs=pairs, max_tokens=80), CHOICES, wanted)
    assert len({round(float(score), 4) for scores in wanted for score in scores}) > 5


@pytest.mark.parametrize("head", ["multiple choice", "ranking"])
def test_with_a_context_the_question_stands_with_its_choice(
    head: str, choosers: dict[str, dict[str, Path]], texts: list[str]
) -> None:
    folder = choosers["roberta"][head]
    tokenizer = AutoTokenizer.from_pretrained(folder, split_special_tokens=True)
    questions, contexts = texts[:4], [" ".join(texts[4:20]), "one\ntwo", texts[40], ""]
    pairs = [{"choices": choices, "context": contexts[number]} for number, choices in enumerate(CHOICES)]
    feature = choice_feature(find(str(folder)), ChoiceOptions())

    wanted = [
        scores_of_choices(
            folder,
            head,
            [
                tokenizer(contexts[number], f"{questions[number]} {choice}", truncation="longest_first", max_length=80)[
                    "input_ids"
                ]
                for choice in CHOICES[number]
            ],
        )
        for number in range(4)
    ]
    check_choices(extracted(feature, questions, pairs=pairs, max_tokens=80), CHOICES, wanted)


def test_commonsense_questions_are_read_as_fairseq_read_them(
    choosers: dict[str, dict[str, Path]], texts: list[str]
) -> None:
    folder = choosers["roberta"]["ranking"]
    roberta = Roberta.load(str(folder))
    questions, choices = texts[:3], CHOICES[:3]
    wanted = []
    for question, given in zip(questions, choices, strict=True):
        ids = [roberta.encode(f"Q: {question}", f"A: {choice}", no_separator=True) for choice in given]
        assert all((row == 2).sum() == 2 for row in ids)
        wanted.append(scores_of_choices(folder, "ranking", [row.tolist() for row in ids]))
    # As the data set has them, as JSON text, and as the hub's copy of it has them.
    shapes: list[Any] = [
        [{"label": "A", "text": choice} for choice in choices[0]],
        json.dumps(choices[1]),
        {"label": ["A"], "text": choices[2]},
    ]
    pairs = [{"choices": shape} for shape in shapes]
    feature = choice_feature(find(str(folder)), ChoiceOptions(ChoiceFormat.CSQA))
    check_choices(extracted(feature, questions, pairs=pairs, max_tokens=190), choices, wanted)


def test_race_is_read_as_fairseq_read_it(choosers: dict[str, dict[str, Path]], texts: list[str]) -> None:
    folder = choosers["roberta"]["ranking"]
    roberta = Roberta.load(str(folder))
    article = " ".join(texts[:20]).replace(". ", ".\n")
    questions, choices = ["The keeper _ the gates.", "What turns?"], [["opens", "measures"], ["the wheel", "it"]]
    wanted = []
    for question, given in zip(questions, choices, strict=True):
        wholes = [question.replace("_", choice) if "_" in question else f"{question} {choice}" for choice in given]
        rows = [[*roberta.encode(whole, article.replace("\n", " ")).tolist()[:119], 2] for whole in wholes]
        wanted.append(scores_of_choices(folder, "ranking", rows))
    pairs = [{"choices": given, "context": article} for given in choices]
    feature = choice_feature(find(str(folder)), ChoiceOptions(ChoiceFormat.RACE))
    check_choices(extracted(feature, questions, pairs=pairs, max_tokens=120), choices, wanted)


@pytest.mark.parametrize(
    ("attached", "detail"),
    [
        ({"choices": None}, "The choices are null or missing, wanted a list of texts."),
        ({}, "The choices are null or missing, wanted a list of texts."),
        ({"choices": " "}, "The choices are an empty text, wanted a list of texts."),
        ({"choices": []}, "The choices are an empty list, wanted at least one text."),
        ({"choices": '{"text": []}'}, "The choices are an empty list, wanted at least one text."),
        ({"choices": "a, b"}, "The choices are text that is no JSON, wanted a list of texts."),
        ({"choices": 3}, "The choices are a number, wanted a list of texts."),
        ({"choices": ["a", 3]}, "Number 2 of the choices is a number, wanted a text."),
        ({"choices": ["a", {"label": "B"}]}, "Number 2 of the choices is null, wanted a text."),
        ({"choices": ["a"], "context": 5}, "The context is a number, wanted a text."),
    ],
)
def test_a_document_without_choices_is_set_aside_alone(
    attached: dict[str, Any], detail: str, choosers: dict[str, dict[str, Path]]
) -> None:
    feature = choice_feature(find(str(choosers["roberta"]["ranking"])), ChoiceOptions())
    pairs = [{"choices": ["x", "y"], "context": "z"}, attached, {"choices": ["x"], "context": None}]
    result = extracted(feature, ["a", "b", "c"], pairs=pairs)
    assert result.table["id"].to_pylist() == ["0", "2"]
    assert [(reject.id, reject.reason, reject.detail) for reject in result.rejects] == [("1", Reason.UNFIT, detail)]
