"""Labels: a sequence classifier's verdict on each document, or on each pair."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
import torch.nn.functional as F  # noqa: N812 (torch calls it so)

from pipelines.errors import InputError
from pipelines.features.columns import feature_fields
from pipelines.features.embedding import vector_column
from pipelines.roberta.config import parse_config, read_json
from pipelines.roberta.invariant import invariant_form
from pipelines.roberta.layout import CLASSIFIER, classifier_of
from pipelines.roberta.linear import linear_form
from pipelines.roberta.states import LAST_FIRST, States
from pipelines.roberta.tensors import stored_tensors
from pipelines.roberta.weights import load_weights
from pipelines.spec import Dtype, FeatureSpec


class Labels:
    """Dense, tanh and projection of ``<s>``, then softmax: the best class's name, its score, and all scores.

    The head is float32 whatever the encoder's dtype: it costs nothing, and close calls stay close to float32's.
    """

    needs = LAST_FIRST

    def __init__(self, spec: FeatureSpec, device: torch.device, *, batch_invariant: bool = False) -> None:
        self.spec = spec
        folder = Path(spec.model.path)
        config = parse_config(read_json(folder / "config.json"), spec.model.path)
        head = classifier_of(stored_tensors(folder), config, spec.model.path)
        if not head:
            raise InputError(f"{spec.model.source} has no classifier.", "Name a model that was fine-tuned on labels.")
        weights = load_weights(head, device, torch.float32)
        form = linear_form(Dtype.FLOAT32, torch.float32, device, "tanh")
        if batch_invariant:
            form = invariant_form(form, torch.float32, device)
        dense, dense_bias, project, project_bias = (weights[name] for name in CLASSIFIER)
        self._dense, self._project = form(dense, dense_bias), form(project, project_bias)
        self.nbytes = self._dense.nbytes + self._project.nbytes

    def fields(self) -> list[pa.Field]:
        return feature_fields(self.spec)

    def compute(self, states: States) -> tuple[npt.NDArray[Any], ...]:
        inner = self._dense.activated(states.first().float())
        scores = F.softmax(self._project(inner), dim=-1).cpu().numpy()
        return scores.argmax(axis=1).astype(np.int32), scores.max(axis=1), scores

    def columns(self, values: Sequence[npt.NDArray[Any]]) -> list[pa.Array]:
        classes, score, scores = values
        names = pa.array(self.spec.model.labels, pa.string())
        label = pa.DictionaryArray.from_arrays(pa.array(classes, pa.int32()), names).cast(pa.string())
        return [label, pa.array(score, pa.float32()), vector_column(scores, len(self.spec.model.labels))]
