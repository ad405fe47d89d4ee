"""Labels: a single-label classifier's verdict on each document, or on each pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F  # noqa: N812 (torch calls it so)

from pipelines.features.classifier import Classifier
from pipelines.features.columns import feature_fields
from pipelines.features.protocol import Values
from pipelines.features.vectors import vector_columns
from pipelines.readings.inputs import Rows
from pipelines.roberta.states import LAST_FIRST, States
from pipelines.spec import FeatureSpec, LabelsOptions, Storage


class Labels:
    """The best class's name, its probability, and all probabilities; on demand the best few of both.

    Of a document in windows the probabilities are the means of the windows', each weighing as many as its tokens.
    """

    needs = LAST_FIRST

    def __init__(self, spec: FeatureSpec, device: torch.device, *, batch_invariant: bool = False) -> None:
        assert isinstance(spec.options, LabelsOptions)
        self.spec = spec
        self._top_k = spec.options.top_k
        self._classifier = Classifier(spec.model, device, batch_invariant=batch_invariant)
        self.nbytes = self._classifier.nbytes

    def fields(self) -> list[pa.Field]:
        return feature_fields(self.spec)

    def compute(self, states: States, notes: Sequence[Any]) -> tuple[Values, ...]:  # noqa: ARG002 (of the protocol)
        return (F.softmax(self._classifier(states.first()), dim=-1),)

    def columns(self, values: Sequence[Values], rows: Rows) -> list[pa.Array]:
        scores = rows.mean(values[0])
        names = pa.array(self.spec.model.labels, pa.string())
        label = names.take(pa.array(scores.argmax(axis=1)))
        columns = [label, pa.array(scores.max(axis=1), pa.float32()), *vector_columns(scores, Storage.FLOAT32)]
        if not self._top_k:
            return columns
        best = np.argsort(-scores, axis=1, kind="stable")[:, : self._top_k]
        offsets = pa.array(np.arange(len(scores) + 1, dtype=np.int32) * self._top_k)
        chosen = np.take_along_axis(scores, best, axis=1)
        return [
            *columns,
            pa.ListArray.from_arrays(offsets, names.take(pa.array(best.reshape(-1)))),
            pa.ListArray.from_arrays(offsets, pa.array(chosen.reshape(-1), pa.float32())),
        ]
