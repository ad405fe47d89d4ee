"""Linear maps by oneDNN, on a CPU; torch reaches its fused products only through operations without a public name.

They are those that torch.compile's CPU backend calls (torch/_inductor/mkldnn_lowerings.py at v2.13.0).
"""

from __future__ import annotations

import math

import torch

from pipelines.roberta.activations import ACTIVATIONS, FUSED, LOWEST
from pipelines.roberta.quantized import PACKED_ROWS, quantize, quantized_weight, steps

ROOM = 1.7
"""What an activation is given above the highest number that it was seen to reach, as a factor."""
USED = 0.4
"""The share of that range which a micro-batch must use; else it gets a finer one of its own."""


class PackedLinear:
    """oneDNN's, on a CPU: the weights lie as its kernels read them, once and for all."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, *, dtype: torch.dtype, activation: str) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.to(dtype), PACKED_ROWS)
        self._bias = bias.to(dtype)
        self._activation = activation
        self.nbytes = weight.numel() * dtype.itemsize + self._bias.nbytes

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        return self._product(rows, "none", "")

    def activated(self, rows: torch.Tensor) -> torch.Tensor:
        if self._activation in FUSED:
            return self._product(rows, *FUSED[self._activation])
        return ACTIVATIONS[self._activation](self(rows))

    def added(self, rows: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        operation = torch.ops.mkldnn._linear_pointwise.binary
        summed: torch.Tensor = operation(rows, residual, self._weight, self._bias, "add")
        return summed

    def _product(self, rows: torch.Tensor, after: str, variant: str) -> torch.Tensor:
        operation = torch.ops.mkldnn._linear_pointwise
        product: torch.Tensor = operation(rows, self._weight, self._bias, after, [], variant)
        return product


class QuantizedLinear:
    """int8 on a CPU: weights with one scale per output, rows as unsigned bytes with one scale per call.

    Sums are exact (32 bits), scales and biases float32, and so are results; those of an activation, which only the
    next map reads, are bfloat16 where the CPU has it: half the memory to go through.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, *, activation: str) -> None:
        self._weight, self._scales = quantized_weight(weight)
        self._zero_points = torch.zeros(len(bias), dtype=torch.int32)
        self._bias = bias.float()
        self._activation = activation
        self._activated = torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32
        self._written: tuple[float, int] | None = None
        self._read: tuple[float, int] | None = None
        self.nbytes = weight.numel() + 3 * self._bias.nbytes

    def feed(self, reader: QuantizedLinear, highest: float) -> None:
        """From now on the activation goes to ``reader`` as bytes; ``highest`` is the most it was seen to reach."""
        if self._activation in LOWEST and 0 < highest < math.inf:
            self._written = reader._read = steps(LOWEST[self._activation], ROOM * highest)

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        return self._product(quantize(rows), torch.float32, "none", "none")

    def activated(self, rows: torch.Tensor) -> torch.Tensor:
        """Bytes where they have a range and it fits: they end below its end, and use enough of it."""
        if self._activation not in FUSED:
            return ACTIVATIONS[self._activation](self(rows))
        name, variant = FUSED[self._activation]
        data = quantize(rows)
        if self._written is not None:
            product = self._product(data, torch.uint8, name, variant or "none", self._written)
            if USED * 255 <= int(product.max()) < 255:
                return product
        return self._product(data, self._activated, name, variant or "none")

    def added(self, rows: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        if rows.dtype is torch.uint8:
            assert self._read is not None, "bytes came from a map that was not to feed this one: this is a bug"
            data, (scale, zero_point) = rows, self._read
        else:
            data, scale, zero_point = quantize(rows)
        summed: torch.Tensor = torch.ops.onednn.qlinear_pointwise.binary(
            data, scale, zero_point, self._weight, self._scales, self._zero_points, residual, self._bias,
            1.0, 0, residual.dtype, 1.0, 0, "add", 1.0, "none", [], "",
        )  # fmt: skip
        return summed

    def _product(
        self,
        rows: tuple[torch.Tensor, float, int],
        result: torch.dtype,
        after: str,
        variant: str,
        written: tuple[float, int] = (1.0, 0),
    ) -> torch.Tensor:
        product: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            *rows, self._weight, self._scales, self._zero_points, self._bias, *written, result, after, [], variant
        )
        return product
