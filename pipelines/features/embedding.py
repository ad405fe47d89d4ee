"""Embeddings: one vector per document, pooled from its token vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from pipelines.features.columns import feature_fields
from pipelines.roberta.states import LAST_FIRST, LAST_TOKENS, States
from pipelines.spec import FeatureSpec, Pooling


class Embedding:
    """Mean, ``<s>`` or element-wise maximum over the used tokens, special ones included; not normalised."""

    nbytes = 0

    def __init__(self, spec: FeatureSpec) -> None:
        if spec.pooling is None:
            raise ValueError("an embedding without pooling: this is a bug")
        self.spec = spec
        self._pooling = spec.pooling
        self.needs = LAST_FIRST if spec.pooling is Pooling.CLS else LAST_TOKENS

    def fields(self) -> list[pa.Field]:
        return feature_fields(self.spec)

    def compute(self, states: States) -> tuple[npt.NDArray[np.float32], ...]:
        return (pool(states, self._pooling).cpu().numpy(),)

    def columns(self, values: Sequence[npt.NDArray[Any]]) -> list[pa.Array]:
        (vectors,) = values
        return [vector_column(vectors, self.spec.model.hidden_size)]


def pool(states: States, pooling: Pooling) -> torch.Tensor:
    """One float32 vector per document, *shape* ``[documents, hidden]``; sums are float32 in every number format."""
    if pooling is Pooling.CLS:
        return states.first().float()
    reduced: torch.Tensor = torch.segment_reduce(
        states.tokens().float(), str(pooling), offsets=states.packing.cu_seqlens.long(), axis=0, unsafe=True
    )
    return reduced


def vector_column(vectors: npt.NDArray[np.float32], width: int) -> pa.Array:
    """Vectors as a column of fixed-size lists. *Shape:* vectors ``[documents, width]``."""
    values = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(values, type=pa.list_(pa.float32(), width))
