"""Which heads a checkpoint holds, seen from its tensors, and what it can be used for. No torch here.

Names of tensors: transformers ``models/roberta/modeling_roberta.py`` (RobertaForMaskedLM, …ForSequenceClassification,
…ForTokenClassification, …ForQuestionAnswering, …ForMultipleChoice).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from pipelines.errors import InputError
from pipelines.roberta.config import EncoderConfig
from pipelines.roberta.layout import plain_name
from pipelines.roberta.tensors import COPY_AGAIN, FLOATS, Tensor


class Kind(StrEnum):
    """The heads that a checkpoint can have beside its encoder."""

    LANGUAGE_MODEL = "language model"
    POOLER = "pooler"
    SEQUENCE = "sequence classifier"
    TOKENS = "token classifier"
    ANSWERS = "question answering"
    CHOICES = "multiple choice"


class Use(StrEnum):
    """What a checkpoint can be used for."""

    EMBEDDING = "embedding"
    CLASSIFY = "classify"
    REGRESSION = "regression"
    ZERO_SHOT = "zero-shot"
    FILL_MASK = "fill-mask"
    PRONOUNS = "pronouns"
    TOKEN_CLASSIFICATION = "token classification"  # noqa: S105 (no password: a task)
    QUESTION_ANSWERING = "question answering"
    MULTIPLE_CHOICE = "multiple choice"


@dataclass(frozen=True, slots=True)
class Head:
    """A head: what it is, how many numbers it gives, and its tensors by plain name."""

    kind: Kind
    outputs: int
    tensors: Mapping[str, Tensor]


_DENSE = ("dense.weight", "dense.bias")
_SEQUENCE = tuple(f"classifier.{name}" for name in (*_DENSE, "out_proj.weight", "out_proj.bias"))
_LINEAR = ("classifier.weight", "classifier.bias")
_ANSWERS = ("qa_outputs.weight", "qa_outputs.bias")
_POOLER = tuple(f"pooler.{name}" for name in _DENSE)
_NORM = ("lm_head.layer_norm.weight", "lm_head.layer_norm.bias")
_LANGUAGE_MODEL = (*(f"lm_head.{name}" for name in _DENSE), *_NORM, "lm_head.bias")
_UNTIED = ("lm_head.decoder.weight", "lm_head.decoder.bias")
_ALWAYS_THERE = {
    Kind.LANGUAGE_MODEL: _LANGUAGE_MODEL,
    Kind.SEQUENCE: _SEQUENCE,
    Kind.ANSWERS: _ANSWERS,
    Kind.TOKENS: _LINEAR,
    Kind.POOLER: _POOLER,
}


def heads_of(tensors: Mapping[str, Tensor], config: EncoderConfig, place: str) -> tuple[Head, ...]:
    """The heads of a checkpoint, whose tensors are given by their stored names.

    Raises InputError for a head that is not whole, or whose shapes do not fit the encoder; ``place`` names it there.
    """
    plain = {plain_name(name): tensor for name, tensor in tensors.items()}
    found = []
    for kind, names in _ALWAYS_THERE.items():
        there = {name: plain[name] for name in names if name in plain}
        if not there:
            continue
        if len(there) < len(names):
            missing = next(name for name in names if name not in there)
            raise InputError(f"{place} lacks tensor {missing!r} of its {kind} head.", COPY_AGAIN)
        if kind is Kind.LANGUAGE_MODEL:
            there |= {name: plain[name] for name in _UNTIED if name in plain}
        outputs = _outputs(kind, there)
        for name, tensor in there.items():
            wanted = _shape(name, outputs, config)
            if tensor.shape != wanted or tensor.dtype not in FLOATS:
                was = f"{tensor.dtype} {list(tensor.shape)}"
                raise InputError(f"{place} has tensor {name!r} as {was}, wanted floats of shape {list(wanted)}.")
        found.append(Head(kind, outputs, there))
    return _choices(tuple(found))


def uses_of(heads: tuple[Head, ...], labels: tuple[str, ...] = ()) -> tuple[Use, ...]:
    """What a checkpoint with such heads, and such labels, can be used for, in the order of :class:`Use`."""
    uses = {Use.EMBEDDING}
    if any(label.lower().startswith("entail") for label in labels):
        uses.add(Use.ZERO_SHOT)
    for head in heads:
        match head.kind:
            case Kind.LANGUAGE_MODEL:
                uses |= {Use.FILL_MASK, Use.PRONOUNS}
            case Kind.SEQUENCE if head.outputs == 1:  # a score: of a text, or of each of several choices
                uses |= {Use.REGRESSION, Use.MULTIPLE_CHOICE}
            case Kind.SEQUENCE:
                uses.add(Use.CLASSIFY)
            case Kind.TOKENS:
                uses.add(Use.TOKEN_CLASSIFICATION)
            case Kind.ANSWERS:
                uses.add(Use.QUESTION_ANSWERING)
            case Kind.CHOICES:
                uses.add(Use.MULTIPLE_CHOICE)
    return tuple(use for use in Use if use in uses)


def in_words(heads: tuple[Head, ...]) -> str:
    """What a checkpoint has, for messages: ``an encoder with a language model head``."""
    words = [
        f"a {head.kind} head" + (f" of {head.outputs} outputs" if head.kind in (Kind.SEQUENCE, Kind.TOKENS) else "")
        for head in heads
    ]
    return f"an encoder with {', '.join(words)}" if words else "an encoder only"


def _choices(heads: tuple[Head, ...]) -> tuple[Head, ...]:
    """A pooler under one output is the head of multiple choice, of which each of the two is a half."""
    pooler = next((head for head in heads if head.kind is Kind.POOLER), None)
    single = next((head for head in heads if head.kind is Kind.TOKENS and head.outputs == 1), None)
    if pooler is None or single is None:
        return heads
    whole = Head(Kind.CHOICES, 1, {**pooler.tensors, **single.tensors})
    return (*(head for head in heads if head not in (pooler, single)), whole)


def _outputs(kind: Kind, tensors: Mapping[str, Tensor]) -> int:
    last = {
        Kind.LANGUAGE_MODEL: "lm_head.bias",
        Kind.SEQUENCE: "classifier.out_proj.bias",
        Kind.TOKENS: "classifier.bias",
        Kind.ANSWERS: "qa_outputs.bias",
        Kind.POOLER: "pooler.dense.bias",
    }[kind]
    return (tensors[last].shape or (0,))[0]


def _shape(name: str, outputs: int, config: EncoderConfig) -> tuple[int, ...]:
    hidden = config.hidden_size
    if name.startswith("lm_head."):
        outputs = config.vocab_size
    if name in _ANSWERS:
        outputs = 2  # where an answer begins and where it ends
    inner = ".dense." in name or name in _NORM
    rows = hidden if inner else outputs
    return (rows,) if name.endswith(".bias") or name in _NORM else (rows, hidden)
