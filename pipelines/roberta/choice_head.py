"""The head that scores a choice: transformers' for multiple choice, or fairseq's, a classifier of one output."""

from __future__ import annotations

from pathlib import Path

from pipelines.errors import InputError
from pipelines.roberta.config import parse_config, read_json
from pipelines.roberta.heads import Head, Kind, heads_of, in_words
from pipelines.roberta.layout import CLASSIFIER
from pipelines.roberta.tensors import stored_tensors
from pipelines.spec import ModelRef

POOLED = ("pooler.dense.weight", "pooler.dense.bias", "classifier.weight", "classifier.bias")
"""The same function as :data:`~pipelines.roberta.layout.CLASSIFIER`, under the names of a pooler and what is on it."""


def choice_head(model: ModelRef) -> tuple[tuple[str, ...], Head]:
    """The names of its dense layer's and its projection's weight and bias, and the head they are of.

    Raises InputError where a pinned checkpoint has no such head, naming what it has.
    """
    folder = Path(model.path)
    config = parse_config(read_json(folder / "config.json"), model.path)
    heads = heads_of(stored_tensors(folder), config, model.path)
    for head in heads:
        if head.kind is Kind.CHOICES:
            return POOLED, head
        if head.kind is Kind.SEQUENCE and head.outputs == 1:
            return CLASSIFIER, head
    raise InputError(
        f"{model.source} has no head that scores choices, it is {in_words(heads)}.",
        "Name a checkpoint that was fine-tuned on multiple choice: --choose MODEL.",
    )
