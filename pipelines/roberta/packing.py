"""Documents of a micro-batch laid one after the other, and where each begins: what replaces padding and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

LEAST_STEP, STEPS_LOG2 = 16, 5


@dataclass(frozen=True, slots=True)
class Packing:
    """Where the documents of a packed row lie.

    ``runs`` are stretches of neighbours of equal length: (first token, documents, tokens each). Sorted documents make
    few and long runs. ``tokens`` are those of all documents; what is computed has ``rows``, see :func:`computed_rows`.
    *Shape:* cu_seqlens ``[documents + 1]``, int32 on the device, in tokens.
    """

    lengths: tuple[int, ...]
    cu_seqlens: torch.Tensor
    runs: tuple[tuple[int, int, int], ...]
    max_length: int
    tokens: int
    rows: int

    def run_documents(self) -> list[int]:
        """The number of the first document of each run."""
        return [0, *accumulate(count for _, count, _ in self.runs)][:-1]


def computed_rows(rows: int, device: torch.device) -> int:
    """How many rows a product is given for so many: on a CPU the next multiple of 16, from 1,024 rows on of more.

    oneDNN makes code for each number of rows that it meets, which takes some milliseconds and is kept. So there are
    few numbers: at most 32 from one power of two to the next, a 32nd of the lower one apart.
    """
    if device.type != "cpu":
        return rows
    step = max(LEAST_STEP, 1 << rows.bit_length() >> STEPS_LOG2 + 1)
    return -(-rows // step) * step


def pack(rows: Sequence[npt.NDArray[np.int32]], device: torch.device) -> tuple[torch.Tensor, Packing]:
    """The ids of several documents as one packed row, *shape* ``[rows]``, with its packing. No document may be empty.

    What fills it up is the last token again, in each layer: nobody reads it, and it changes no range of numbers.
    """
    lengths = tuple(map(len, rows))
    if not lengths or min(lengths) < 1:
        raise ValueError("a micro-batch without documents, or with one without tokens: this is a bug")
    runs, start = [], 0
    for length, run in groupby(lengths):
        count = sum(1 for _ in run)
        runs.append((start, count, length))
        start += count * length
    offsets = np.concatenate((np.zeros(1, np.int32), np.cumsum(lengths, dtype=np.int32)))
    computed = computed_rows(start, device)
    packing = Packing(lengths, on_device(offsets, device), tuple(runs), max(lengths), start, computed)
    filler = np.repeat(rows[-1][-1:], computed - start)
    return on_device(np.concatenate([*rows, filler]), device), packing


def on_device(array: npt.NDArray[Any], device: torch.device) -> torch.Tensor:
    """An array as a tensor on the device. To CUDA it goes by pinned memory, and nobody waits for it."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def position_ids(packing: Packing, padding_idx: int) -> torch.Tensor:
    """The position of each token: RoBERTa counts from ``padding_idx + 1`` in each document. *Shape:* ``[rows]``."""
    starts = packing.cu_seqlens[:-1].long()
    sizes = packing.cu_seqlens.diff().long()
    first = torch.repeat_interleave(starts, sizes, output_size=packing.tokens)
    positions = torch.arange(packing.tokens, device=starts.device) - first + (padding_idx + 1)
    if packing.rows == packing.tokens:
        return positions
    return torch.cat([positions, positions[-1:].expand(packing.rows - packing.tokens)])
