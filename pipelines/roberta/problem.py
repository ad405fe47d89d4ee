"""What a sequence classifier was made for: one label of several, any number of labels, or a number."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pipelines.errors import InputError
from pipelines.roberta.config import parse_config, read_json
from pipelines.roberta.layout import CLASSIFIER, classifier_of
from pipelines.roberta.tensors import stored_tensors
from pipelines.spec import ModelRef


class Problem(StrEnum):
    """The values of ``problem_type`` in transformers' config."""

    SINGLE_LABEL = "single_label_classification"
    MULTI_LABEL = "multi_label_classification"
    REGRESSION = "regression"


def problem_of(model: ModelRef) -> Problem | None:
    """What a checkpoint's classifier was made for; None where it has none.

    Where the config does not say, one output is a regression and several are single-label classes, as in
    ``modeling_roberta.py`` of transformers. Raises InputError where the config says something else.
    """
    folder = Path(model.path)
    document = read_json(folder / "config.json")
    head = classifier_of(stored_tensors(folder), parse_config(document, model.path), model.path)
    if not head:
        return None
    outputs, said = head[CLASSIFIER[3]].shape[0], document.get("problem_type")
    if outputs == 1:
        return Problem.REGRESSION
    if said == Problem.REGRESSION:
        raise InputError(f"{model.source} is a regression with {outputs} outputs.", "Only one number can be had.")
    if said is None:
        return Problem.SINGLE_LABEL
    try:
        return Problem(said)
    except ValueError:
        raise InputError(
            f"{model.source} has problem_type {str(said)[:60]!r}, wanted one of {', '.join(Problem)}."
        ) from None
