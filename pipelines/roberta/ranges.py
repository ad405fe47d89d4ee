"""What an activation reaches in each layer of an int8 encoder, tried out when it is loaded.

With a range known beforehand a product writes the activation as bytes at once, and the next one reads them. The range
is that of the model alone, found on ids drawn by a fixed seed, so results depend on no earlier micro-batch; where a
micro-batch does not fit it, :class:`pipelines.roberta.onednn.QuantizedLinear` computes that one anew with its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from pipelines.roberta.linear import Linear

DOCUMENTS, TOKENS = 8, 64


class Watched:
    """A linear map that remembers the highest number that its activation gave."""

    def __init__(self, linear: Linear) -> None:
        self._linear = linear
        self.nbytes = linear.nbytes
        self.highest = 0.0

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        return self._linear(rows)

    def activated(self, rows: torch.Tensor) -> torch.Tensor:
        product = self._linear.activated(rows)
        self.highest = max(float(product.max()), self.highest)  # this way round what is no number is kept
        return product

    def added(self, rows: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        return self._linear.added(rows, residual)


def trial_rows(vocab_size: int, token_limit: int) -> Iterator[npt.NDArray[np.int32]]:
    """Documents of ids drawn from the whole vocabulary, the same every time. *Shape:* ``[tokens]`` each."""
    random = np.random.default_rng(0)
    for _ in range(DOCUMENTS):
        yield random.integers(0, vocab_size, min(TOKENS, token_limit), dtype=np.int32)
