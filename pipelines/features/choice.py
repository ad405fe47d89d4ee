"""The choice that a head likes best of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from pipelines.features.classifier import Classifier
from pipelines.features.columns import feature_fields
from pipelines.features.protocol import Values
from pipelines.features.zero_shot import softmax
from pipelines.readings.inputs import Rows
from pipelines.roberta.choice_head import choice_head
from pipelines.roberta.states import LAST_FIRST, States
from pipelines.spec import FeatureSpec


class Choice:
    """The best choice's number, from 0, its text, and the probability of each: a softmax over the document's choices.

    Of equal ones the first is the best.
    """

    needs = LAST_FIRST

    def __init__(self, spec: FeatureSpec, device: torch.device, *, batch_invariant: bool = False) -> None:
        self.spec = spec
        names, _ = choice_head(spec.model)
        self._classifier = Classifier(spec.model, device, batch_invariant=batch_invariant, names=names)
        self.nbytes = self._classifier.nbytes

    def fields(self) -> list[pa.Field]:
        return feature_fields(self.spec)

    def compute(self, states: States, notes: Sequence[Any]) -> tuple[Values, ...]:  # noqa: ARG002 (of the protocol)
        return (self._classifier(states.first())[:, 0],)

    def columns(self, values: Sequence[Values], rows: Rows) -> list[pa.Array]:
        logits = np.split(values[0], rows.starts[1:])
        best = [int(one.argmax()) for one in logits]
        chosen = [one.notes[number] for one, number in zip(rows.inputs, best, strict=True)]
        offsets = np.concatenate((rows.starts, [len(values[0])])).astype(np.int32)
        scores = np.concatenate([softmax(one) for one in logits])
        return [
            pa.array(best, pa.int32()),
            pa.array(chosen, pa.string()),
            pa.ListArray.from_arrays(pa.array(offsets), pa.array(scores, pa.float32())),
        ]
