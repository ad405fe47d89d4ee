"""Features that share an encoder and a tokenizer share a forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipelines.features.embedding import Embedding
from pipelines.features.labels import Labels
from pipelines.features.protocol import Feature
from pipelines.roberta.encoder import Encoder
from pipelines.roberta.states import Needs
from pipelines.spec import FeatureKind, FeatureSpec, ModelRef, RunSpec


class SharedForward:
    """An encoder, and every feature of a run that is read off it."""

    def __init__(self, model: ModelRef, encoder: Encoder, features: Sequence[Feature]) -> None:
        self.model = model
        self.encoder = encoder
        self.features = tuple(features)
        self._needs = Needs.union(feature.needs for feature in features)

    def compute(self, rows: Sequence[npt.NDArray[np.int32]]) -> list[tuple[npt.NDArray[Any], ...]]:
        """One forward pass over a micro-batch; the columns of each feature, documents in the order of ``rows``."""
        with torch.inference_mode():
            states = self.encoder.forward(rows, needs=self._needs)
            return [feature.compute(states) for feature in self.features]


def load_features(spec: RunSpec, device: torch.device) -> list[SharedForward]:
    """Load what a run's features need, each encoder once. Features keep their order within each forward pass.

    Raises InputError where a model cannot be read, SurroundingsError where it does not fit into the device's memory.
    """
    encoders: dict[str, Encoder] = {}
    groups: dict[tuple[str, str], list[FeatureSpec]] = {}
    for feature in spec.features:
        groups.setdefault((feature.model.encoder_digest, feature.model.tokenizer_digest), []).append(feature)
    forwards = []
    for (encoder_digest, _), members in groups.items():
        model = members[0].model
        if encoder_digest not in encoders:
            encoders[encoder_digest] = Encoder.load(model, device, spec.dtype, batch_invariant=spec.batch_invariant)
        features = [load_feature(member, device, batch_invariant=spec.batch_invariant) for member in members]
        forwards.append(SharedForward(model, encoders[encoder_digest], features))
    return forwards


def load_feature(spec: FeatureSpec, device: torch.device, *, batch_invariant: bool) -> Feature:
    """The feature that a spec asks for, with its weights if it has any."""
    if spec.kind is FeatureKind.EMBEDDING:
        return Embedding(spec)
    return Labels(spec, device, batch_invariant=batch_invariant)
