"""Linear maps by oneDNN, on a CPU; torch reaches its fused products only through operations without a public name.

They are those that torch.compile's CPU backend calls (torch/_inductor/mkldnn_lowerings.py at v2.13.0).
"""

from __future__ import annotations

import torch

from pipelines.roberta.activations import ACTIVATIONS, FUSED
from pipelines.roberta.quantized import PACKED_ROWS, quantize, quantized_weight


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
        self.nbytes = weight.numel() + 3 * self._bias.nbytes

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        return self._product(rows, torch.float32, "none", "none")

    def activated(self, rows: torch.Tensor) -> torch.Tensor:
        if self._activation in FUSED:
            name, variant = FUSED[self._activation]
            return self._product(rows, self._activated, name, variant or "none")
        return ACTIVATIONS[self._activation](self(rows))

    def added(self, rows: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        data, scale, zero_point = quantize(rows)
        summed: torch.Tensor = torch.ops.onednn.qlinear_pointwise.binary(
            data, scale, zero_point, self._weight, self._scales, self._zero_points, residual, self._bias,
            1.0, 0, residual.dtype, 1.0, 0, "add", 1.0, "none", [], "",
        )  # fmt: skip
        return summed

    def _product(self, rows: torch.Tensor, result: torch.dtype, after: str, variant: str) -> torch.Tensor:
        data, scale, zero_point = quantize(rows)
        product: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            data, scale, zero_point, self._weight, self._scales, self._zero_points, self._bias,
            1.0, 0, result, after, [], variant,
        )  # fmt: skip
        return product
