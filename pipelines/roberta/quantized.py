"""Numbers as bytes, as oneDNN's int8 products take them.

Rows are unsigned with a zero point: signed ones fall to oneDNN's reference path, hundreds of times slower on CPUs
without AMX.
"""

from __future__ import annotations

import math
import warnings

import torch

from pipelines.errors import InputError

PACKED_ROWS = 4096
"""Rows that weights are laid out for; products of fewer or more rows are right all the same."""

_TINY = torch.finfo(torch.float32).tiny


def quantized_weight(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight as signed bytes, laid out for oneDNN, and the scale of each output: symmetric.

    *Shape:* weight ``[outputs, inputs]``, scales ``[outputs]``, float32. Raises InputError where one is not finite.
    """
    scales = row_scales(weight)
    if not bool(scales.isfinite().all()):
        raise InputError("A weight of the model is not a finite number.", "Copy the checkpoint again.")
    data = torch.round(weight.float() / scales[:, None]).to(torch.int8)
    return torch.ops.onednn.qlinear_prepack(data, (PACKED_ROWS, weight.shape[1])), scales


def row_scales(weight: torch.Tensor) -> torch.Tensor:
    """The scale of each row of signed bytes, symmetric; of a row with a number that is not finite it is not either.

    *Shape:* ``[rows, columns]`` to ``[rows]``, float32.
    """
    return weight.abs().amax(dim=1).float().clamp_(min=_TINY) / 127


def quantize(rows: torch.Tensor) -> tuple[torch.Tensor, float, int]:
    """Rows as unsigned bytes, and the scale and zero point that cover their range and zero: asymmetric, one for all.

    Raises FloatingPointError where a number is not finite: its neighbours must not share its scale.
    """
    low, high = (float(value) for value in torch.aminmax(rows))
    low, high = min(low, 0.0), max(high, 0.0)
    if not math.isfinite(high - low):
        raise FloatingPointError("a number is not finite")
    scale, zero_point = steps(low, high)
    quantized = _quantize_per_tensor(rows.float(), scale, zero_point, torch.quint8)
    plain = torch.empty(0, dtype=torch.uint8)
    return plain.set_(quantized.untyped_storage(), 0, rows.shape, rows.stride()), scale, zero_point


def steps(low: float, high: float) -> tuple[float, int]:
    """The scale and zero point of bytes that cover a range, which holds zero."""
    scale = max((high - low) / 255, _TINY)
    return scale, min(255, max(0, round(-low / scale)))


# torch deprecates the operation, in favour of a package that has no faster one; it warns once in a process.
_quantize_per_tensor = torch.quantize_per_tensor
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    _quantize_per_tensor(torch.zeros(1), 1.0, 0, torch.quint8)
