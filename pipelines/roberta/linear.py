"""Linear maps of an encoder, each in the form that is fastest on its device and in its number format.

What follows a product is fused into it where oneDNN can: the activation, and the sum with a residual.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812 (torch calls it so)

from pipelines.roberta.activations import ACTIVATIONS
from pipelines.roberta.onednn import PackedLinear, QuantizedLinear
from pipelines.spec import Dtype


class Linear(Protocol):
    """``rows @ weight.T + bias``. *Shape:* rows ``[tokens, inputs]``, result ``[tokens, outputs]``."""

    nbytes: int

    def __call__(self, rows: torch.Tensor) -> torch.Tensor: ...

    def activated(self, rows: torch.Tensor) -> torch.Tensor:
        """The activation of the product."""
        ...

    def added(self, rows: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """The product plus ``residual``, *shape* ``[tokens, outputs]``."""
        ...


LinearForm = Callable[[torch.Tensor, torch.Tensor], Linear]
"""Makes a linear map of a float32 weight and bias, *shape* ``[outputs, inputs]`` and ``[outputs]``; neither is kept."""


def linear_form(dtype: Dtype, row_dtype: torch.dtype, device: torch.device, activation: str) -> LinearForm:
    """The fastest form for a number format and a device; ``row_dtype`` is the format of the rows."""
    if dtype is Dtype.INT8:
        return partial(QuantizedLinear, activation=activation)
    if device.type == "cpu" and _onednn_takes(row_dtype):
        return partial(PackedLinear, dtype=row_dtype, activation=activation)
    return partial(PlainLinear, dtype=row_dtype, device=device, activation=activation)


class PlainLinear:
    """As torch does it: every device, every format."""

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor, *, dtype: torch.dtype, device: torch.device, activation: str
    ) -> None:
        self._weight, self._bias = weight.to(device, dtype), bias.to(device, dtype)
        self._activation = ACTIVATIONS[activation]
        self.nbytes = self._weight.nbytes + self._bias.nbytes

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        return F.linear(rows, self._weight, self._bias)

    def activated(self, rows: torch.Tensor) -> torch.Tensor:
        return self._activation(self(rows))

    def added(self, rows: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        return self(rows) + residual


def takes_int8(device: torch.device) -> bool:
    """Whether int8 can be computed there."""
    return device.type == "cpu" and _has_onednn()


def _has_onednn() -> bool:
    there: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]  # it has no types
    return there


def _onednn_takes(dtype: torch.dtype) -> bool:
    if not _has_onednn():
        return False
    return dtype is torch.float32 or (dtype is torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())
