"""Features that name stretches of a text: what a token classifier finds in it, and the answer to a question."""

from __future__ import annotations

from pipelines.spec.features import FeatureKind, FeatureSpec, ModelRef, prefixed
from pipelines.spec.options import AnswerOptions, SpansOptions


def spans_feature(model: ModelRef, name: str | None, options: SpansOptions) -> FeatureSpec:
    """A token classifier's spans; the column is prefixed with its name if it has one."""
    return FeatureSpec(FeatureKind.SPANS, model, prefixed(name, "spans"), options)


def answer_feature(model: ModelRef, name: str | None, options: AnswerOptions) -> FeatureSpec:
    """The answer to a question, its score and place, and the score of there being none."""
    columns = ("answer", "answer_score", "answer_begin", "answer_end", "no_answer_score")
    return FeatureSpec(FeatureKind.ANSWER, model, prefixed(name, *columns), options)
