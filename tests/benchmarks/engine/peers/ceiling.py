"""What the matrix products of a layer reach by themselves: the ceiling of every engine on these shapes.

oneDNN's products on weights that it has rearranged before, as torch's own compiler calls them. In int8 the activations
are unsigned with zero point 128: signed ones are not computed by the fast instructions.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch

KINDS = ("fp32", "bf16", "int8")
REPEATS = 3


class Contestant:
    """``layer(hidden, inner, rows)`` measures; a model is not needed."""

    def prepare(self, model: Path, work: Path, threads: int) -> None:
        """Set the threads."""
        torch.set_num_threads(threads)

    @torch.inference_mode()
    def layer(self, hidden: int, inner: int, rows: tuple[int, ...]) -> dict[str, dict[str, float]]:
        """GFLOP/s by number format: of each product at its best row count, and of a ``layer`` of all four so."""
        shapes = {
            "qkv": (hidden, 3 * hidden),
            "out": (hidden, hidden),
            "inner": (hidden, inner),
            "outer": (inner, hidden),
        }
        found = {}
        for kind in KINDS:
            speeds = {name: max(_gflops(kind, *shape, count) for count in rows) for name, shape in shapes.items()}
            work = {name: left * right for name, (left, right) in shapes.items()}
            seconds = sum(work[name] / speeds[name] for name in shapes)
            found[kind] = {**speeds, "layer": sum(work.values()) / seconds}
        return found


def _gflops(kind: str, left: int, right: int, rows: int) -> float:
    call = _quantized(left, right, rows) if kind == "int8" else _floating(kind, left, right, rows)
    call()
    best = float("inf")
    for _ in range(REPEATS):
        begun = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - begun)
    return 2 * rows * left * right / best / 1e9


def _floating(kind: str, left: int, right: int, rows: int) -> Callable[[], torch.Tensor]:
    dtype = torch.bfloat16 if kind == "bf16" else torch.float32
    hidden, bias = torch.randn(rows, left, dtype=dtype), torch.randn(right, dtype=dtype)
    packed = torch.ops.mkldnn._reorder_linear_weight(torch.randn(right, left).mul(0.02).to(dtype), rows)
    return lambda: torch.ops.mkldnn._linear_pointwise(hidden, packed, bias, "none", [], "")


def _quantized(left: int, right: int, rows: int) -> Callable[[], torch.Tensor]:
    hidden = torch.randint(0, 255, (rows, left), dtype=torch.uint8)
    packed = torch.ops.onednn.qlinear_prepack(torch.randint(-127, 127, (right, left), dtype=torch.int8), (rows, left))
    scales, zeros, bias = torch.rand(right) / 1000, torch.zeros(right, dtype=torch.int32), torch.randn(right)
    return lambda: torch.ops.onednn.qlinear_pointwise(
        hidden, 0.01, 128, packed, scales, zeros, bias, 1.0, 0, torch.bfloat16, "none", [], "none"
    )
