"""What padded peers have in common: ids sorted by length, filled up to rectangles, and the mean over real tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

PAD, MAX_TOKENS = 1, 512


def fast_tokenizer(model: Path) -> Tokenizer:
    """The tokenizer of a checkpoint, bare: it cuts to 512 tokens and fills nothing up."""
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.no_padding()
    return tokenizer


def token_ids(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """The ids of each text, special ones included."""
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts))]


def sorted_groups(rows: Sequence[Sequence[int]], size: int) -> Iterator[list[int]]:
    """Indices of rows, longest first, so many at a time."""
    order = sorted(range(len(rows)), key=lambda index: -len(rows[index]))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def rectangle(rows: Sequence[Sequence[int]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Ids filled up to the longest row, and the mask of what is real. *Shape:* ``[rows, longest]``."""
    ids = np.full((len(rows), max(map(len, rows))), PAD, np.int64)
    mask = np.zeros_like(ids)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
        mask[number, : len(row)] = 1
    return ids, mask


def mean(hidden: npt.NDArray[np.float32], mask: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """The mean of each row's real tokens. *Shape:* hidden ``[rows, tokens, hidden]``; result ``[rows, hidden]``."""
    weights = mask.astype(np.float32)
    return np.einsum("rth,rt->rh", hidden, weights) / weights.sum(1, keepdims=True)


def pooled(
    rows: Sequence[Sequence[int]],
    batch: int,
    streams: int,
    hidden: Callable[[Sequence[Sequence[int]]], npt.NDArray[np.float32]],
) -> npt.NDArray[np.float32]:
    """The mean of each row's token vectors in order, where ``hidden`` gives those of a batch.

    ``hidden`` is called from as many threads as there are streams.
    """
    vectors: list[npt.NDArray[np.float32]] = [np.empty(0, np.float32)] * len(rows)

    def compute(group: Sequence[int]) -> None:
        part = [rows[index] for index in group]
        for index, vector in zip(group, mean(hidden(part), rectangle(part)[1]), strict=True):
            vectors[index] = vector

    if streams == 1:
        for group in sorted_groups(rows, batch):
            compute(group)
    else:
        with ThreadPoolExecutor(streams) as pool:
            list(pool.map(compute, sorted_groups(rows, batch)))
    return np.stack(vectors)
