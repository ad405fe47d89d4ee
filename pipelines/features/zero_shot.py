"""Labels that a classifier never saw: how far a text entails a hypothesis about each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from pipelines.features.classifier import Classifier
from pipelines.features.columns import feature_fields
from pipelines.features.protocol import Values
from pipelines.features.vectors import vector_columns
from pipelines.readings.inputs import Rows
from pipelines.roberta.nli import contradiction_class, entailment_class
from pipelines.roberta.states import LAST_FIRST, States
from pipelines.spec import FeatureSpec, Storage, ZeroShotOptions


class ZeroShot:
    """The best label, its score, and all scores in the order of the labels.

    The scores are a softmax over the labels' entailment; with ``each`` every label's is its own entailment against
    contradiction. Of a document in windows they are the means of the windows', each weighing as many as its tokens.
    """

    needs = LAST_FIRST

    def __init__(self, spec: FeatureSpec, device: torch.device, *, batch_invariant: bool = False) -> None:
        assert isinstance(spec.options, ZeroShotOptions)
        self.spec, self._options = spec, spec.options
        self._classifier = Classifier(spec.model, device, batch_invariant=batch_invariant)
        self.nbytes = self._classifier.nbytes

    def fields(self) -> list[pa.Field]:
        return feature_fields(self.spec)

    def compute(self, states: States, notes: Sequence[Any]) -> tuple[Values, ...]:  # noqa: ARG002 (of the protocol)
        return (self._classifier(states.first()),)

    def columns(self, values: Sequence[Values], rows: Rows) -> list[pa.Array]:
        labels = len(self._options.labels)
        windows = Rows(rows.inputs, rows.counts // labels, rows.lengths.reshape(-1, labels)[:, 0])
        found = scores_of(values[0].reshape(len(windows.lengths), labels, -1), self.spec.model.labels, self._options)
        scores = windows.mean(found)
        names = pa.array(self._options.labels, pa.string())
        return [
            names.take(pa.array(scores.argmax(axis=1))),
            pa.array(scores.max(axis=1), pa.float32()),
            *vector_columns(scores, Storage.FLOAT32),
        ]


def scores_of(
    logits: npt.NDArray[np.float32], classes: Sequence[str], options: ZeroShotOptions
) -> npt.NDArray[np.float32]:
    """The scores of labels from what the classifier says of their hypotheses, as transformers' pipeline makes them.

    A label that is alone is weighed against contradiction. *Shape:* logits ``[rows, labels, classes]``, result
    ``[rows, labels]``.
    """
    entailment = entailment_class(classes)
    if options.each or len(options.labels) == 1:
        both = np.array([contradiction_class(classes), entailment], np.intp)
        return softmax(logits[:, :, both])[:, :, 1]
    return softmax(logits[:, :, entailment])


def softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Probabilities along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: npt.NDArray[np.float32] = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities
