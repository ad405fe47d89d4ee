"""What a feature should say of a document, from what the oracle computed of its rows: none of the engine's code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch calls it so)
from safetensors.torch import load_file

from pipelines.proof.compare import Vector
from pipelines.proof.oracle import Computed
from pipelines.spec import EmbeddingOptions, Pooling


def vector(rows: Sequence[Computed], options: EmbeddingOptions, folder: str = "") -> Vector:
    """The embedding of a document before it is stored; ``folder`` is the model's. *Shape:* ``[dimensions]``."""
    pooled = [_pooled(row, options) for row in rows]
    if options.pooling is Pooling.MAX:
        merged: Vector = np.max(pooled, axis=0)
    else:
        merged = mean_of_rows(rows, pooled)
    for dense in options.dense:
        layer = load_file(Path(folder) / dense.folder / "model.safetensors")
        product = F.linear(torch.from_numpy(merged), layer["linear.weight"].float(), layer["linear.bias"].float())
        merged = getattr(torch.nn, dense.activation)()(product).numpy()
    merged = merged[: options.dimensions]
    length = float(np.linalg.norm(merged))
    return merged / np.float32(length) if options.normalize and length else merged


def probabilities(rows: Sequence[Computed], *, each: bool) -> Vector:
    """The probability of every class; of each by itself, or of one of them. *Shape:* ``[classes]``."""
    found: list[Vector] = []
    for row in rows:
        logits = row.logits
        if each:
            found.append((1 / (1 + np.exp(-logits))).astype(np.float32))
        else:
            powers = np.exp(logits - logits.max())
            found.append(powers / powers.sum())
    return mean_of_rows(rows, found)


def number(rows: Sequence[Computed]) -> float:
    """What a regression head says."""
    return float(mean_of_rows(rows, [row.logits for row in rows])[0])


def mean_of_rows(rows: Sequence[Computed], values: Sequence[Vector]) -> Vector:
    """The mean of what the rows say, each weighing as many as its tokens. *Shape:* values ``[rows][width]``."""
    weighted: Vector = np.average(np.stack(values), axis=0, weights=[row.tokens for row in rows]).astype(np.float32)
    return weighted


def _pooled(row: Computed, options: EmbeddingOptions) -> Vector:
    shares = options.weights or [1 / len(options.layers)] * len(options.layers)
    states = zip(options.layers, shares, strict=True)
    tokens: Vector = np.sum([row.hidden[layer] * np.float32(share) for layer, share in states], axis=0)
    if options.pooling is Pooling.CLS:
        first: Vector = tokens[0]
        return first
    pooled: Vector = tokens.mean(axis=0) if options.pooling is Pooling.MEAN else tokens.max(axis=0)
    return pooled
