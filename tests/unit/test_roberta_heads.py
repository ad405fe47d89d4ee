"""Which heads a checkpoint has is seen from its tensors, and so is what it can be used for."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    RobertaForMaskedLM,
    RobertaForMultipleChoice,
    RobertaForQuestionAnswering,
    RobertaForSequenceClassification,
    RobertaForTokenClassification,
    RobertaModel,
)

from pipelines.errors import InputError
from pipelines.roberta.about import about
from pipelines.roberta.checkpoint import find
from pipelines.roberta.heads import Kind, Use, in_words

EMBEDDING = Use.EMBEDDING


@pytest.fixture
def save(tiny_model: Path, tmp_path: Path) -> Callable[..., Path]:
    """Save a model of a class of transformers, random, with the tokenizer of the tiny one."""

    def make(model_class: type[RobertaModel], **config: object) -> Path:
        folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
        made = AutoConfig.from_pretrained(tiny_model, **config)
        model_class(made).save_pretrained(folder)
        return folder

    return make


@pytest.mark.parametrize(
    ("model_class", "config", "heads", "uses"),
    [
        (RobertaModel, {}, {Kind.POOLER: 64}, {EMBEDDING}),
        (RobertaForMaskedLM, {}, {Kind.LANGUAGE_MODEL: 600}, {EMBEDDING, Use.FILL_MASK, Use.PRONOUNS}),
        (
            RobertaForMaskedLM,
            {"tie_word_embeddings": False},
            {Kind.LANGUAGE_MODEL: 600},
            {EMBEDDING, Use.FILL_MASK, Use.PRONOUNS},
        ),
        (RobertaForSequenceClassification, {"num_labels": 3}, {Kind.SEQUENCE: 3}, {EMBEDDING, Use.CLASSIFY}),
        (
            RobertaForSequenceClassification,
            {"num_labels": 1},
            {Kind.SEQUENCE: 1},
            {EMBEDDING, Use.REGRESSION, Use.MULTIPLE_CHOICE},
        ),
        (RobertaForTokenClassification, {"num_labels": 5}, {Kind.TOKENS: 5}, {EMBEDDING, Use.TOKEN_CLASSIFICATION}),
        (RobertaForQuestionAnswering, {}, {Kind.ANSWERS: 2}, {EMBEDDING, Use.QUESTION_ANSWERING}),
        (RobertaForMultipleChoice, {}, {Kind.CHOICES: 1}, {EMBEDDING, Use.MULTIPLE_CHOICE}),
    ],
)
def test_every_class_of_transformers_is_known_by_its_tensors(
    model_class: type[RobertaModel],
    config: dict[str, object],
    heads: dict[Kind, int],
    uses: set[Use],
    save: Callable[..., Path],
) -> None:
    found = about(find(str(save(model_class, **config))))
    assert {head.kind: head.outputs for head in found.heads} == heads
    assert set(found.uses) == uses


def test_sizes_are_those_of_the_tensors(tiny_classifier: Path) -> None:
    found, tensors = about(find(str(tiny_classifier))), load_file(tiny_classifier / "model.safetensors")
    assert found.parameters == sum(tensor.numel() for tensor in tensors.values())
    assert found.nbytes == sum(tensor.nbytes for tensor in tensors.values()) == found.dtypes["F32"]
    assert in_words(found.heads) == "an encoder with a sequence classifier head of 3 outputs"
    assert in_words(()) == "an encoder only"


@pytest.mark.parametrize(
    ("model_class", "name", "shape", "said"),
    [
        (RobertaForMaskedLM, "lm_head.dense.bias", None, "lacks tensor 'lm_head.dense.bias'"),
        (RobertaForMaskedLM, "lm_head.bias", (601,), "of shape [600]"),
        (RobertaForMaskedLM, "lm_head.layer_norm.weight", (64, 64), "of shape [64]"),
        (RobertaForQuestionAnswering, "qa_outputs.weight", (3, 64), "of shape [2, 64]"),
        (RobertaForTokenClassification, "classifier.weight", (2, 63), "of shape [2, 64]"),
        (RobertaForSequenceClassification, "classifier.out_proj.bias", None, "lacks tensor"),
    ],
)
def test_a_head_that_is_not_whole_or_does_not_fit_is_refused(
    model_class: type[RobertaModel], name: str, shape: tuple[int, ...] | None, said: str, save: Callable[..., Path]
) -> None:
    folder = save(model_class)
    tensors = load_file(folder / "model.safetensors")
    if shape is None:
        del tensors[name]
    else:
        tensors[name] = torch.zeros(shape)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError) as caught:
        about(find(str(folder)))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
