"""With ``batch_invariant`` what a model is asked about a document has the same answer, to the bit, in any company."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from parity.asked import asked_documents, asked_spec
from parity.choice_models import add_choice_head
from parity.lm_models import add_lm_head

from pipelines.documents import Batch, Document
from pipelines.extract import Extractor
from pipelines.roberta.checkpoint import find
from pipelines.spec import (
    ChoiceOptions,
    Dtype,
    FeatureSpec,
    FillMaskOptions,
    ModelRef,
    PronounOptions,
    ZeroShotOptions,
    choice_feature,
    fill_mask_feature,
    pronoun_feature,
    zero_shot_feature,
)

Feature = Callable[[dict[str, ModelRef]], FeatureSpec]
FEATURES: dict[str, tuple[Feature, dict[str, Any]]] = {
    "zero-shot": (lambda models: zero_shot_feature(models["nli"], ZeroShotOptions(("a mill", "some noise"))), {}),
    "choice": (lambda models: choice_feature(models["choices"], ChoiceOptions()), {"choices": ["x", "a longer one"]}),
    "fills": (lambda models: fill_mask_feature(models["filler"], FillMaskOptions(3)), {}),
    "pronouns": (
        lambda models: pronoun_feature(models["filler"], PronounOptions()),
        {"candidates": ["the river", "seven gates"]},
    ),
}


@pytest.fixture(scope="module")
def models(
    tiny_model: Path, make_model: Callable[..., Path], texts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, ModelRef]:
    root = tmp_path_factory.mktemp("models")
    labels = ("contradiction", "neutral", "entailment")
    folders = {
        "nli": make_model(texts, root / "nli", labels=labels, encoder_from=tiny_model),
        "choices": add_choice_head(tiny_model, root / "choices"),
        "filler": add_lm_head(tiny_model, root / "filler"),
    }
    return {name: find(str(folder)) for name, folder in folders.items()}


@pytest.mark.parametrize("dtype", [Dtype.FLOAT32, Dtype.BFLOAT16])
@pytest.mark.parametrize("name", FEATURES)
def test_same_answers_in_any_company(dtype: Dtype, name: str, models: dict[str, ModelRef], texts: list[str]) -> None:
    make, attached = FEATURES[name]
    subjects = [f"<mask> {text} [it] turns." for text in texts[:30]]
    there = asked_documents(subjects, [attached] * len(subjects) if attached else None)
    spec = replace(asked_spec(make(models), roles=attached), batch_invariant=True, dtype=dtype)
    shuffled = random.Random(0).sample(there, len(there))

    def rows(documents: list[Document], budget: int) -> dict[str, dict[str, Any]]:
        table = Extractor(spec, token_budget=budget).extract(Batch(0, 0, [*documents])).table
        return {row["id"]: row for row in table.to_pylist()}

    together = rows(there, 100_000)
    assert len(together) == len(subjects)
    assert rows(shuffled, 150) == together
