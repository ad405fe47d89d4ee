"""Linear maps whose result for a row does not depend, to the last bit, on how many other rows are computed with it.

A kernel is chosen by the number of rows, and kernels round in different orders. oneDNN's with weights laid out
beforehand agree with one another from a few rows on; whether they do on this machine is tried out when a model is
loaded. Where they do not, every product is computed in pieces of one and the same number of rows.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 (torch calls it so)

from pipelines.roberta.linear import Linear, LinearForm

LEAST_ROWS = 16
"""Fewer are filled up with zeros: for one row a matrix-vector kernel is taken, which sums in another order."""

PIECE_ROWS = {"cpu": 256, "cuda": 4096}
TRIED_ROWS = 512
_TRIED = ((3, LEAST_ROWS), (8, 17), (0, 33), (100, 64), (31, 100), (7, 257), (0, TRIED_ROWS - 1))
"""Where pieces begin, and how many rows they have, when a map is tried out."""

Product = Callable[..., torch.Tensor]


def invariant_form(form: LinearForm, row_dtype: torch.dtype, device: torch.device) -> LinearForm:
    """The same form, invariant; ``row_dtype`` is the format of the rows. Maps of one shape are tried out once."""
    tried: dict[torch.Size, bool] = {}

    def make(weight: torch.Tensor, bias: torch.Tensor) -> Linear:
        shape = weight.shape
        linear = form(weight, bias)
        if shape not in tried:
            tried[shape] = _is_invariant(linear, shape, row_dtype, device)
        return Invariant(linear, None if tried[shape] else PIECE_ROWS.get(device.type, PIECE_ROWS["cpu"]))

    return make


class Invariant:
    """A linear map in pieces of ``piece_rows`` rows, or in one of at least ``LEAST_ROWS`` where that is None."""

    def __init__(self, linear: Linear, piece_rows: int | None) -> None:
        self._linear = linear
        self.piece_rows = piece_rows
        self.nbytes = linear.nbytes

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        return self._by_pieces(self._linear, rows)

    def activated(self, rows: torch.Tensor) -> torch.Tensor:
        return self._by_pieces(self._linear.activated, rows)

    def added(self, rows: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        return self._by_pieces(self._linear.added, rows, residual)

    def _by_pieces(self, product: Product, *tensors: torch.Tensor) -> torch.Tensor:
        count = len(tensors[0])
        if self.piece_rows is None:
            return _filled(product, LEAST_ROWS, *tensors) if count < LEAST_ROWS else product(*tensors)
        starts = range(0, count, self.piece_rows)
        pieces = ([tensor[start : start + self.piece_rows] for tensor in tensors] for start in starts)
        return torch.cat([_filled(product, self.piece_rows, *piece) for piece in pieces])


def _filled(product: Product, size: int, *tensors: torch.Tensor) -> torch.Tensor:
    """A product of tensors filled up with rows of zeros, which are taken off again."""
    count = len(tensors[0])
    return product(*(F.pad(tensor, (0, 0, 0, size - count)) for tensor in tensors))[:count]


@torch.inference_mode()
def _is_invariant(linear: Linear, shape: torch.Size, row_dtype: torch.dtype, device: torch.device) -> bool:
    """Whether some rows come out equal by themselves and among others. *Shape:* of the weight."""
    outputs, inputs = shape
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(TRIED_ROWS, inputs, generator=generator).to(device, row_dtype)
    residual = torch.randn(TRIED_ROWS, outputs, generator=generator).to(device, row_dtype)
    whole = (linear(rows), linear.activated(rows), linear.added(rows, residual))
    for start, count in _TRIED:
        place = slice(start, start + count)
        alone = (linear(rows[place]), linear.activated(rows[place]), linear.added(rows[place], residual[place]))
        if not all(torch.equal(one, all_[place]) for one, all_ in zip(alone, whole, strict=True)):
            return False
    return True
