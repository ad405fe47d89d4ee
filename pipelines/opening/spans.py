"""``--spans self|MODEL|NAME=MODEL``: which token classifiers are asked for, and how their spans are put together."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.errors import UsageError
from pipelines.opening.named_models import named_models
from pipelines.roberta.needed_head import token_labels
from pipelines.spec import Aggregation, FeatureSpec, ModelRef, SpansOptions, spans_feature


@dataclass(frozen=True, slots=True)
class AskedSpans:
    """Items are ``self``, MODEL or NAME=MODEL; an aggregation of None is the default."""

    models: tuple[str, ...] = ()
    aggregation: Aggregation | None = None


def span_features(asked: AskedSpans, model: ModelRef, *, pairs: bool) -> tuple[FeatureSpec, ...]:
    """The token classifiers of a run. Raises UsageError for a contradiction, InputError for a model without such a
    head, naming what it has.
    """
    if not asked.models:
        if asked.aggregation is not None:
            raise UsageError("--aggregation is about spans, of which none are asked for.", "Add --spans.")
        return ()
    if pairs:
        raise UsageError(
            "--spans cannot be had with --pair-column: a pair has no one text that they could be places of.",
            "Run them apart, with both texts in --text-column where both are to be searched.",
        )
    aggregation = asked.aggregation or Aggregation.SIMPLE
    return tuple(
        spans_feature(found, name, SpansOptions(token_labels(found), aggregation))
        for name, found in named_models("--spans", asked.models, model, what="token classifiers")
    )
