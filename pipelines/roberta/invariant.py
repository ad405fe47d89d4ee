"""Linear maps whose result for a row does not depend, to the last bit, on how many other rows are computed with it.

A kernel is chosen by the number of rows and of threads, and kernels round in different orders. oneDNN's with weights
laid out beforehand agree with one another from a few rows on; whether they do on this machine is tried out when a model
is loaded. Where they do not, every product is computed in pieces of one and the same number of rows, by one thread. On
CUDA it always is in pieces: a trial of all the sizes that kernels are chosen by would take longer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F  # noqa: N812 (torch calls it so)

from pipelines.roberta.linear import Linear, LinearForm

LEAST_ROWS = 16
"""Fewer are filled up with zeros: for one row a matrix-vector kernel is taken, which sums in another order."""

PIECE_ROWS = 256
"""On a CPU."""
TILES_PER_PIECE = 0.25
"""On CUDA, for each multiprocessor: tiles of 128 rows, and token budgets are multiples of such pieces
(:mod:`pipelines.calibration`)."""
TRIED_ROWS = 512
_TRIED = ((3, LEAST_ROWS), (8, 17), (0, 33), (100, 64), (31, 100), (64, 128), (5, 256), (7, 257), (0, TRIED_ROWS - 1))
"""Where pieces begin, and how many rows they have, when a map is tried out."""

Product = Callable[..., torch.Tensor]


def invariant_form(
    form: LinearForm, row_dtype: torch.dtype, device: torch.device, piece_rows: int | None = None
) -> LinearForm:
    """The same form, invariant; ``row_dtype`` is the format of the rows. Maps of one shape are tried out once.

    ``piece_rows`` are those of a piece where a map is given few rows; else there are as many as suit the device.
    """
    tried: dict[torch.Size, bool] = {}
    size = piece_rows or _piece_rows(device)

    def by_one_thread(weight: torch.Tensor, bias: torch.Tensor) -> Linear:
        with _one_thread(device):  # weights are laid out for a number of threads
            return form(weight, bias)

    def make(weight: torch.Tensor, bias: torch.Tensor) -> Linear:
        if device.type != "cpu":
            return Invariant(form(weight, bias), size)
        linear, shape = form(weight, bias), weight.shape
        if shape not in tried:
            tried[shape] = _is_invariant(linear, by_one_thread(weight, bias), shape, row_dtype)
        return Invariant(linear, None) if tried[shape] else Invariant(by_one_thread(weight, bias), size)

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
        with _one_thread(tensors[0].device):
            return torch.cat([_filled(product, self.piece_rows, *piece) for piece in pieces])


def _filled(product: Product, size: int, *tensors: torch.Tensor) -> torch.Tensor:
    """A product of tensors filled up with rows of zeros, which are taken off again."""
    count = len(tensors[0])
    return product(*(F.pad(tensor, (0, 0, 0, size - count)) for tensor in tensors))[:count]


def _piece_rows(device: torch.device) -> int:
    if device.type != "cuda":
        return PIECE_ROWS
    return int(128 * TILES_PER_PIECE * torch.cuda.get_device_properties(device).multi_processor_count)


@contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    """A CPU's products in here have one thread each."""
    before = torch.get_num_threads()
    if device.type != "cpu" or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@torch.inference_mode()
def _is_invariant(linear: Linear, of_one_thread: Linear, shape: torch.Size, row_dtype: torch.dtype) -> bool:
    """Whether some rows come out equal by themselves on this process's threads, and among others on one.

    *Shape:* of the weight.
    """
    outputs, inputs = shape
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(TRIED_ROWS, inputs, generator=generator).to(row_dtype)
    residual = torch.randn(TRIED_ROWS, outputs, generator=generator).to(row_dtype)
    with _one_thread(rows.device):
        whole = (of_one_thread(rows), of_one_thread.activated(rows), of_one_thread.added(rows, residual))
    for start, count in _TRIED:
        place = slice(start, start + count)
        alone = (linear(rows[place]), linear.activated(rows[place]), linear.added(rows[place], residual[place]))
        if not all(torch.equal(one, all_[place]) for one, all_ in zip(alone, whole, strict=True)):
            return False
    return True
