"""The head that a feature needs of a checkpoint, or a line that says what the checkpoint has instead. No torch here."""

from __future__ import annotations

from pathlib import Path

from pipelines.errors import InputError
from pipelines.roberta.config import parse_config, parse_labels, read_json
from pipelines.roberta.heads import Head, Kind, heads_of, in_words
from pipelines.roberta.tensors import stored_tensors
from pipelines.spec import ModelRef


def needed_head(model: ModelRef, kind: Kind) -> Head:
    """A pinned checkpoint's head of a kind. Raises InputError where it has none, naming what it has."""
    folder = Path(model.path)
    config = parse_config(read_json(folder / "config.json"), model.path)
    heads = heads_of(stored_tensors(folder), config, model.path)
    for head in heads:
        if head.kind is kind:
            return head
    raise InputError(
        f"{model.source} has no {kind} head, it is {in_words(heads)}.", "Name a model that was made for it."
    )


def token_labels(model: ModelRef) -> tuple[str, ...]:
    """The names of a token classifier's classes, in class order. Raises InputError as :func:`needed_head` does, and
    where ``id2label`` names other classes than there are.
    """
    head = needed_head(model, Kind.TOKENS)
    folder = Path(model.path)
    return parse_labels(read_json(folder / "config.json"), head.outputs, str(folder / "config.json"))
