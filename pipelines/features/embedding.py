"""Embeddings: one vector per document, pooled from its token vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from pipelines.features.columns import feature_fields
from pipelines.roberta.packing import Packing
from pipelines.spec import FeatureSpec, Pooling


class Embedding:
    """Mean, ``<s>`` or element-wise maximum over the used tokens, special ones included; not normalised."""

    nbytes = 0

    def __init__(self, spec: FeatureSpec) -> None:
        if spec.pooling is None:
            raise ValueError("an embedding without pooling: this is a bug")
        self.spec = spec
        self._pooling = spec.pooling

    def fields(self) -> list[pa.Field]:
        return feature_fields(self.spec)

    def compute(self, hidden: torch.Tensor, packing: Packing) -> tuple[npt.NDArray[np.float32], ...]:
        return (pool(hidden, packing, self._pooling).cpu().numpy(),)

    def columns(self, values: Sequence[npt.NDArray[Any]]) -> list[pa.Array]:
        (vectors,) = values
        return [vector_column(vectors, self.spec.model.hidden_size)]


def pool(hidden: torch.Tensor, packing: Packing, pooling: Pooling) -> torch.Tensor:
    """One float32 vector per document; sums are float32 whatever the dtype of ``hidden``.

    *Shape:* hidden ``[tokens, hidden]``, result ``[documents, hidden]``.
    """
    if pooling is Pooling.CLS:
        return hidden[packing.cu_seqlens[:-1].long()].float()
    reduced: torch.Tensor = torch.segment_reduce(
        hidden.float(), str(pooling), offsets=packing.cu_seqlens.long(), axis=0, unsafe=True
    )
    return reduced


def vector_column(vectors: npt.NDArray[np.float32], width: int) -> pa.Array:
    """Vectors as a column of fixed-size lists. *Shape:* vectors ``[documents, width]``."""
    values = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(values, type=pa.list_(pa.float32(), width))
