"""Regression: the number, or numbers, that a head gives for each document or pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import torch

from pipelines.features.classifier import Classifier
from pipelines.features.columns import feature_fields
from pipelines.features.protocol import Values
from pipelines.readings.inputs import Rows
from pipelines.roberta.states import LAST_FIRST, States
from pipelines.spec import FeatureSpec


class Regression:
    """The head's output as it stands. Of a document in windows the mean, each weighing as many as its tokens."""

    needs = LAST_FIRST

    def __init__(self, spec: FeatureSpec, device: torch.device, *, batch_invariant: bool = False) -> None:
        self.spec = spec
        self._classifier = Classifier(spec.model, device, batch_invariant=batch_invariant)
        self.nbytes = self._classifier.nbytes

    def fields(self) -> list[pa.Field]:
        return feature_fields(self.spec)

    def compute(self, states: States, notes: Sequence[Any]) -> tuple[Values, ...]:  # noqa: ARG002 (of the protocol)
        return (self._classifier(states.first()),)

    def columns(self, values: Sequence[Values], rows: Rows) -> list[pa.Array]:
        return [pa.array(rows.mean(values[0])[:, 0], pa.float32())]
