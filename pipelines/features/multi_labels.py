"""Multi-labels: any number of a classifier's labels, each of them likely enough by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from pipelines.features.classifier import Classifier
from pipelines.features.columns import feature_fields
from pipelines.features.protocol import Values
from pipelines.features.vectors import vector_columns
from pipelines.readings.inputs import Rows
from pipelines.roberta.states import LAST_FIRST, States
from pipelines.spec import FeatureSpec, MultiLabelsOptions, Storage


class MultiLabels:
    """The labels whose probability (the logistic function of their logit) is at least their threshold, in class order.

    Of a document in windows the probabilities are the means of the windows', each weighing as many as its tokens.
    """

    needs = LAST_FIRST

    def __init__(self, spec: FeatureSpec, device: torch.device, *, batch_invariant: bool = False) -> None:
        assert isinstance(spec.options, MultiLabelsOptions)
        self.spec = spec
        self._thresholds = np.array(spec.options.thresholds, np.float32)
        self._classifier = Classifier(spec.model, device, batch_invariant=batch_invariant)
        self.nbytes = self._classifier.nbytes

    def fields(self) -> list[pa.Field]:
        return feature_fields(self.spec)

    def compute(self, states: States, notes: Sequence[Any]) -> tuple[Values, ...]:  # noqa: ARG002 (of the protocol)
        return (torch.sigmoid(self._classifier(states.first())),)

    def columns(self, values: Sequence[Values], rows: Rows) -> list[pa.Array]:
        scores = rows.mean(values[0])
        likely = scores >= self._thresholds
        offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(likely.sum(axis=1)))).astype(np.int32)
        names = pa.array(self.spec.model.labels, pa.string()).take(pa.array(np.nonzero(likely)[1]))
        labels = pa.ListArray.from_arrays(pa.array(offsets), names)
        return [labels, *vector_columns(scores, Storage.FLOAT32)]
