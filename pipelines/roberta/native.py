"""Which number formats a device computes in, and which one a CPU does best.

The latter is found by trying, for having instructions for a format says little.

A processor with AVX-512's products of bfloat16 was measured at 171 GFLOP/s in it and 317 in float32 (2 cores, products
of roberta-base).
"""

from __future__ import annotations

import statistics
import time

import torch

from pipelines.errors import SurroundingsError
from pipelines.roberta.linear import linear_form, takes_int8
from pipelines.spec import Dtype

ROWS, INPUTS, OUTPUTS = 512, 768, 3072
"""The widest product of a layer of roberta-base, for a small micro-batch: 2.4 GFLOP."""
ROUNDS = 7
WORTH = 1.2
"""Half of the digits are given up for so much speed at the least."""


def refuse_dtype(dtype: Dtype, device: torch.device) -> None:
    """Raises SurroundingsError where a device computes a number format not at all, or only by emulation."""
    on_gpu = device.type == "cuda"
    if dtype is Dtype.INT8 and not takes_int8(device):
        raise SurroundingsError(
            "int8 is computed on CPUs only, by a torch that was built with oneDNN.", "Take bfloat16 or float32."
        )
    if dtype is Dtype.FLOAT16 and not on_gpu:
        raise SurroundingsError("A CPU does not compute float16.", "Take bfloat16 or float32.")
    if dtype is Dtype.BFLOAT16 and on_gpu and torch.cuda.get_device_capability(device) < (8, 0):
        name = torch.cuda.get_device_name(device)
        raise SurroundingsError(f"{name} does not compute bfloat16.", "Take float16 or float32.")


def bfloat16_pays() -> bool:
    """Whether this CPU computes products of bfloat16 in its own instructions, and so much faster than float32."""
    has = torch.cpu.get_capabilities()
    native = has.get("avx512_bf16") or has.get("amx_bf16") or has.get("bf16")
    if not (native and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return False
    return seconds_of(Dtype.FLOAT32) >= WORTH * seconds_of(Dtype.BFLOAT16)


def seconds_of(dtype: Dtype) -> float:
    """The median time of a layer's widest product with its activation; ``dtype`` is float32 or bfloat16."""
    row_dtype = torch.bfloat16 if dtype is Dtype.BFLOAT16 else torch.float32
    random = torch.Generator().manual_seed(0)
    rows = torch.randn(ROWS, INPUTS, generator=random).to(row_dtype)
    weight = torch.randn(OUTPUTS, INPUTS, generator=random) / INPUTS**0.5
    linear = linear_form(dtype, row_dtype, torch.device("cpu"), "gelu")(weight, torch.zeros(OUTPUTS))
    taken = []
    with torch.inference_mode():
        for _ in range(ROUNDS + 1):
            started = time.perf_counter()
            linear.activated(rows)
            taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:])  # the first one also prepares
