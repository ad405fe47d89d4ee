"""The proof of what models are asked: nothing against rows that are right, something against those that are not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from parity.asked import asked_documents, asked_spec
from parity.choice_models import add_choice_head
from parity.lm_models import add_lm_head

from pipelines.documents import Batch
from pipelines.extract import Extractor
from pipelines.proof.compare import BOUNDS, Comparison
from pipelines.proof.oracle import Sight
from pipelines.proof.questions import compare_questions
from pipelines.proof.subjects import Subject
from pipelines.roberta.checkpoint import find
from pipelines.spec import (
    ChoiceFormat,
    ChoiceOptions,
    FeatureSpec,
    FillMaskOptions,
    PronounOptions,
    ZeroShotOptions,
    choice_feature,
    fill_mask_feature,
    pronoun_feature,
    zero_shot_feature,
)

Change = Callable[[dict[str, Any]], None]
CHOICES = [
    {"choices": ["a wheel", "seven gates", ""], "context": "The river\nturns."},
    {"choices": ["x"], "context": ""},
]
CANDIDATES = [{"candidates": ["the river", "日本語"]}, {"candidates": ["a heavy wheel", "it"]}]


@pytest.fixture(scope="module")
def made(
    checkpoints: dict[str, tuple[Path, Path]],
    make_model: Callable[..., Path],
    texts: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, dict[str, Path]]:
    """Models of each kind, for two model types."""
    root = tmp_path_factory.mktemp("asked")
    labels = ("entailment", "neutral", "contradiction")
    return {
        kind: {
            "nli": make_model(texts, root / f"{kind}-nli", labels=labels, encoder_from=encoder, head_scale=2.0),
            "choices": add_choice_head(encoder, root / f"{kind}-choices"),
            "ranking": add_choice_head(encoder, root / f"{kind}-ranking", ranking=True),
            "filler": add_lm_head(encoder, root / f"{kind}-filler"),
        }
        for kind, (encoder, _) in checkpoints.items()
        if kind != "camembert"
    }


def proved(
    feature: FeatureSpec,
    texts: Sequence[str],
    pairs: Sequence[dict[str, Any]] | None = None,
    change: Change | None = None,
    max_tokens: int = 100,
) -> tuple[str, Comparison]:
    """What the proof has against the rows that the engine computes, or against what becomes of them."""
    spec = asked_spec(feature, roles=pairs[0] if pairs else (), max_tokens=max_tokens)
    there = asked_documents(texts, pairs)
    result = Extractor(spec).extract(Batch(0, 0, [*there]))
    assert result.rejects == []
    comparison, sight = Comparison(BOUNDS[spec.dtype], documents=len(there)), Sight(spec.model)
    for document, row in zip(there, result.table.to_pylist(), strict=True):
        if change is not None:
            change(row)
        compare_questions(comparison, Subject(document, row, "here"), spec.features, spec, sight)
    return comparison.worst(), comparison


@pytest.mark.parametrize("model_type", ["roberta", "xlm-roberta"])
@pytest.mark.parametrize("each", [False, True])
def test_zero_shot(model_type: str, each: bool, made: dict[str, dict[str, Path]], texts: list[str]) -> None:
    options = ZeroShotOptions(("water", "a loud noise"), each=each)
    feature = zero_shot_feature(find(str(made[model_type]["nli"])), options)
    subjects = [*texts[:4], " ".join(texts[:9])]
    worst, comparison = proved(feature, subjects)
    assert worst == ""
    assert comparison.max_probability_difference is not None

    def swapped(row: dict[str, Any]) -> None:
        row["zero_shot_scores"] = row["zero_shot_scores"][::-1]

    assert "in a probability apart by" in proved(feature, subjects, change=swapped)[0]


@pytest.mark.parametrize("model_type", ["roberta", "xlm-roberta"])
@pytest.mark.parametrize("head", ["choices", "ranking"])
@pytest.mark.parametrize("form", ChoiceFormat)
def test_choices(
    model_type: str, head: str, form: ChoiceFormat, made: dict[str, dict[str, Path]], texts: list[str]
) -> None:
    feature = choice_feature(find(str(made[model_type][head])), ChoiceOptions(form))
    pairs = [{"choices": one["choices"]} for one in CHOICES] if form is ChoiceFormat.CSQA else CHOICES
    worst, comparison = proved(feature, ["The keeper _ the gates.", texts[2]], pairs)
    assert worst == ""
    assert comparison.max_probability_difference is not None

    def other(row: dict[str, Any]) -> None:
        row["choice_scores"] = row["choice_scores"][1:] + row["choice_scores"][:1]

    assert "in a probability apart by" in proved(feature, ["What?", texts[2]], pairs, other)[0]


def test_what_fairseqs_forms_would_cut_is_passed_over(made: dict[str, dict[str, Path]], texts: list[str]) -> None:
    feature = choice_feature(find(str(made["roberta"]["ranking"])), ChoiceOptions(ChoiceFormat.RACE))
    worst, comparison = proved(feature, [" ".join(texts[:5]), "What?"], CHOICES, max_tokens=40)
    assert worst == ""
    assert comparison.max_probability_difference is not None


def test_fills(made: dict[str, dict[str, Path]], texts: list[str]) -> None:
    feature = fill_mask_feature(find(str(made["roberta"]["filler"])), FillMaskOptions(4))
    subjects = ["<mask>", "a  <mask> wheel ", f"{' '.join(texts[:9])} <mask>"]
    assert proved(feature, subjects)[0] == ""

    def surer(row: dict[str, Any]) -> None:
        row["fills"][1]["score"] += 0.01

    assert "in its scores apart by" in proved(feature, subjects, change=surer)[0]


@pytest.mark.parametrize("model_type", ["roberta", "xlm-roberta"])
def test_pronouns(model_type: str, made: dict[str, dict[str, Path]]) -> None:
    feature = pronoun_feature(find(str(made[model_type]["filler"])), PronounOptions())
    subjects = ["The keeper of _the mill_: [it]  turns.", "“Now [he] refuses”, the keeper said."]
    assert proved(feature, subjects, CANDIDATES)[0] == ""

    def likelier(row: dict[str, Any]) -> None:
        row["pronoun_candidates"][-1]["score"] += 0.1

    assert "apart by" in proved(feature, subjects, CANDIDATES, likelier)[0]
