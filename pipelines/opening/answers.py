"""``--answer self|MODEL|NAME=MODEL``: the question answering models that are asked for, and where they look."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.errors import UsageError
from pipelines.opening.named_models import named_models
from pipelines.roberta.heads import Kind
from pipelines.roberta.needed_head import needed_head
from pipelines.spec import AnswerOptions, FeatureSpec, ModelRef, answer_feature


@dataclass(frozen=True, slots=True)
class AskedAnswers:
    """Items are ``self``, MODEL or NAME=MODEL; None is the default of :class:`AnswerOptions`."""

    models: tuple[str, ...] = ()
    max_answer_tokens: int | None = None
    stride: int | None = None
    always: bool = False


def answer_features(asked: AskedAnswers, model: ModelRef, *, pairs: bool) -> tuple[FeatureSpec, ...]:
    """The question answering models of a run. Raises UsageError for a contradiction, InputError for a model without
    such a head, naming what it has.
    """
    if not asked.models:
        for option, given in (("--max-answer-tokens", asked.max_answer_tokens), ("--always-answer", asked.always)):
            if given:
                raise UsageError(f"{option} is given, but no --answer.", "Leave it out, or add --answer.")
        return ()
    if not pairs:
        raise UsageError(
            "--answer needs a question and a context for each document.",
            "Name the column of the context with --pair-column, that of the question with --text-column.",
        )
    default = AnswerOptions()
    options = AnswerOptions(
        stride=default.stride if asked.stride is None else asked.stride,
        max_answer_tokens=asked.max_answer_tokens or default.max_answer_tokens,
        always=asked.always,
    )
    features = []
    for name, found in named_models("--answer", asked.models, model, what="question answering models"):
        needed_head(found, Kind.ANSWERS)
        features.append(answer_feature(found, name, options))
    return tuple(features)


def check_stride(asked: AskedAnswers, max_tokens: int) -> None:
    """Raises UsageError for a stride that windows of a context cannot have: they go on by half of what they hold at
    least, and the question is in each.
    """
    most = max_tokens // 2
    if asked.stride is not None and asked.stride > most:
        raise UsageError(
            f"--stride {asked.stride} is more than windows of {max_tokens} tokens can share.", f"Use at most {most}."
        )
