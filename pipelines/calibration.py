"""The token budget that suits a device, a model and a dtype, by a short measurement when the model is loaded.

Layers are alike, so forward passes through two of them tell how fast all are. On a processor activations of fewer
tokens stay nearer to the caches, but the products have less to do at once; on a CUDA device products are made in tiles
of 128 rows, so budgets are whole waves of tiles over its multiprocessors, or even parts of one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from pipelines.roberta.encoder import Encoder
from pipelines.roberta.failures import is_out_of_memory

CPU_CANDIDATES = (256, 512, 1024)
TILE_TOKENS = 128
CUDA_WAVES = (0.25, 0.5, 1, 2, 4)
TIME_LIMIT_S = 1.0
NOISE = 0.95
"""A smaller budget with so much of the best rate is taken: it needs less memory, and is done sooner."""
SHORTEST, LONGEST = 24, 104
"""Tokens of the documents that are measured with, evenly spread: those of news."""
ROUNDS = 3
FREE_FRACTION = 0.2
"""Of a device's memory that a candidate must leave free for a larger one to be tried."""


def calibrate(encoder: Encoder, time_limit_s: float = TIME_LIMIT_S) -> int:
    """The smallest budget, in tokens, that is as fast as any, up to noise.

    Takes the time limit at most, or one pass of the smallest candidate, two on CUDA: what is slow gets fewer of them,
    and what memory is too small for, or hardly enough, is left out.
    """
    shallow, deadline = encoder.shallow(), time.perf_counter() + time_limit_s
    sizes = list(candidates(encoder.device))
    ids = np.random.default_rng(0).integers(0, encoder.config.vocab_size, 2 * sizes[-1], dtype=np.int32)
    per_token_s: dict[int, float] = {}
    if encoder.device.type == "cuda":  # its first pass loads kernels, which takes longer than a pass of any size
        _warm_up(shallow, _rows(ids, sizes[0], encoder.config.token_limit))
        deadline = time.perf_counter() + time_limit_s
    for _ in range(ROUNDS):
        for size in list(sizes):
            expected_s = size * per_token_s.get(size, min(per_token_s.values(), default=0.0))
            if per_token_s and time.perf_counter() + expected_s > deadline:
                return choose({tried: 1 / taken_s for tried, taken_s in per_token_s.items()})
            rows = _rows(ids, size, encoder.config.token_limit)
            try:
                taken_s = _pass_s(shallow, rows) / sum(map(len, rows))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                sizes = [tried for tried in sizes if tried < size] or sizes[:1]
                per_token_s.setdefault(sizes[0], float("inf"))
                break
            per_token_s[size] = min(per_token_s.get(size, taken_s), taken_s)
            if not _has_room(encoder.device):
                sizes = [tried for tried in sizes if tried <= size]
                break
    return choose({tried: 1 / taken_s for tried, taken_s in per_token_s.items()})


def candidates(device: torch.device) -> tuple[int, ...]:
    """The budgets that are tried on a device, in rising order, in tokens."""
    if device.type != "cuda":
        return CPU_CANDIDATES
    wave = TILE_TOKENS * torch.cuda.get_device_properties(device).multi_processor_count
    return tuple(int(wave * part) for part in CUDA_WAVES)


def choose(rates: Mapping[int, float]) -> int:
    """Of budgets with their tokens per second the smallest whose rate is the best one, up to noise."""
    best = max(rates.values())
    return min(size for size, rate in rates.items() if rate >= NOISE * best)


def _rows(ids: npt.NDArray[np.int32], size: int, token_limit: int) -> list[npt.NDArray[np.int32]]:
    """Documents of about ``size`` tokens together, the longest first."""
    count = max(1, 2 * size // (SHORTEST + LONGEST))
    lengths = np.minimum(np.linspace(LONGEST, SHORTEST, count).astype(int), token_limit)
    return np.split(ids[: lengths.sum()], np.cumsum(lengths)[:-1])


def _warm_up(encoder: Encoder, rows: list[npt.NDArray[np.int32]]) -> None:
    try:
        _pass_s(encoder, rows)
    except Exception as error:
        if not is_out_of_memory(error):
            raise


def _pass_s(encoder: Encoder, rows: list[npt.NDArray[np.int32]]) -> float:
    """Seconds of one forward pass."""
    if encoder.device.type == "cuda":
        torch.cuda.synchronize(encoder.device)
    started = time.perf_counter()
    encoder.forward(rows)
    if encoder.device.type == "cuda":
        torch.cuda.synchronize(encoder.device)
    return time.perf_counter() - started


def _has_room(device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    free, total = torch.cuda.mem_get_info(device)
    return free > FREE_FRACTION * total
