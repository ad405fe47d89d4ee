"""Embeddings: one vector per document, pooled from its token vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from pipelines.features.columns import feature_fields
from pipelines.features.protocol import Values
from pipelines.features.vectors import normalized, vector_columns
from pipelines.readings.inputs import Rows
from pipelines.roberta.dense import activated, load_dense
from pipelines.roberta.states import Needs, States
from pipelines.spec import EmbeddingOptions, FeatureSpec, Pooling


class Embedding:
    """Mean, ``<s>`` or element-wise maximum over the used tokens, special ones included, of one layer or several.

    Of a document in windows the mean, each window weighing as many as its tokens, and the maximum of maxima.
    """

    nbytes = 0

    def __init__(self, spec: FeatureSpec) -> None:
        assert isinstance(spec.options, EmbeddingOptions)
        self.spec, self.options = spec, spec.options
        self._dense = [load_dense(Path(spec.model.path), dense) for dense in spec.options.dense]
        layers = frozenset(spec.options.layers)
        self.needs = Needs(firsts=layers) if spec.options.pooling is Pooling.CLS else Needs(tokens=layers)

    def fields(self) -> list[pa.Field]:
        return feature_fields(self.spec)

    def compute(self, states: States, notes: Sequence[Any]) -> tuple[Values, ...]:  # noqa: ARG002 (of the protocol)
        return (pool(states, self.options),)

    def columns(self, values: Sequence[Values], rows: Rows) -> list[pa.Array]:
        merge = rows.max if self.options.pooling is Pooling.MAX else rows.mean
        vectors = merge(values[0])
        for (weight, bias), dense in zip(self._dense, self.options.dense, strict=True):
            vectors = activated(vectors @ weight.T + bias, dense.activation)
        vectors = vectors[:, : self.options.dimensions]
        return vector_columns(normalized(vectors) if self.options.normalize else vectors, self.options.storage)


def pool(states: States, options: EmbeddingOptions) -> torch.Tensor:
    """One float32 vector per row, *shape* ``[rows, hidden]``; sums are float32 in every number format."""
    if options.pooling is Pooling.CLS:
        return mixed([states.first(layer) for layer in options.layers], options.weights)
    tokens = mixed([states.tokens(layer) for layer in options.layers], options.weights)
    reduced: torch.Tensor = torch.segment_reduce(
        tokens, str(options.pooling), offsets=states.packing.cu_seqlens.long(), axis=0, unsafe=True
    )
    return reduced


def mixed(layers: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    """The weighted sum of layers' vectors, or their mean where there are no weights, in float32."""
    if len(layers) == 1 and not weights:
        return layers[0].float()
    shares = weights or [1 / len(layers)] * len(layers)
    total = torch.zeros_like(layers[0], dtype=torch.float32)
    for vectors, share in zip(layers, shares, strict=True):
        total.add_(vectors.float(), alpha=share)
    return total
