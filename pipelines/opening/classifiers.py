"""``--classify self|MODEL|NAME=MODEL``: which classifiers are asked for, and what each one's head is made for."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipelines.errors import InputError, UsageError
from pipelines.opening.named_models import named_models
from pipelines.roberta.checkpoint import described
from pipelines.roberta.problem import Problem, problem_of
from pipelines.spec import (
    FeatureSpec,
    LabelsOptions,
    ModelRef,
    MultiLabelsOptions,
    labels_feature,
    multi_labels_feature,
    regression_feature,
)

DEFAULT_THRESHOLD = 0.5
_THRESHOLD = re.compile(r"(?:(?P<label>.*)=)?(?P<value>0|1|[01]?\.[0-9]+)", re.DOTALL)


def classifier_features(
    asked: Sequence[str], model: ModelRef, *, top_k: int, thresholds: Sequence[str]
) -> tuple[FeatureSpec, ...]:
    """The classifiers of a run. Raises UsageError for a contradiction, InputError for a model without a classifier."""
    features = [
        _feature(found, name, top_k, thresholds)
        for name, found in named_models("--classify", asked, model, what="classifiers")
    ]
    kinds = {type(feature.options) for feature in features}
    if thresholds and MultiLabelsOptions not in kinds:
        raise UsageError(
            "--threshold is given, but no multi-label classifier.",
            "Leave it out: the best label wins. Multi-label is what config.json calls multi_label_classification.",
        )
    if top_k and LabelsOptions not in kinds:
        raise UsageError("--top-k is given, but no single-label classifier.", "Leave it out.")
    return tuple(features)


def _feature(model: ModelRef, name: str | None, top_k: int, thresholds: Sequence[str]) -> FeatureSpec:
    problem = problem_of(model)
    if problem is None:
        raise InputError(
            f"{model.source} has no classifier, it is {described(model)}.",
            "Name a fine-tuned checkpoint: --classify MODEL.",
        )
    if problem is Problem.REGRESSION:
        return regression_feature(model, name)
    if problem is Problem.MULTI_LABEL:
        return multi_labels_feature(model, name, MultiLabelsOptions(_thresholds(thresholds, model)))
    if top_k > len(model.labels):
        raise UsageError(
            f"--top-k {top_k} is more than the {len(model.labels)} classes of {model.source}.",
            f"Use at most {len(model.labels)}.",
        )
    return labels_feature(model, name, LabelsOptions(top_k))


def _thresholds(asked: Sequence[str], model: ModelRef) -> tuple[float, ...]:
    """One for each class, in class order; a value without a label is for all that are not named."""
    values: dict[str | None, float] = {None: DEFAULT_THRESHOLD}
    for text in asked:
        found = _THRESHOLD.fullmatch(text)
        if found is None or not 0 <= float(found["value"]) <= 1:
            raise UsageError(f"--threshold {text} is no threshold.", "Wanted P or LABEL=P, P from 0 to 1.")
        if found["label"] is not None and found["label"] not in model.labels:
            raise UsageError(
                f"--threshold {text}: {model.source} has no label {found['label']!r}.",
                f"It has {', '.join(model.labels)}.",
            )
        values[found["label"]] = float(found["value"])
    return tuple(values.get(label, values[None]) for label in model.labels)
