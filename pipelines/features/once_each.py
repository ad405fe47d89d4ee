"""A document in windows, token by token: each once, from the window that knows most of what is around it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.int64]


def once_each(lengths: Sequence[int], begins: Sequence[int], before: int = 1, after: int = 1) -> Places:
    """Where each token of a document is in its rows, laid one after the other; special tokens once, around them all.

    A token that is in several windows is taken from the one in which it is farthest from a border, the earlier of two
    in which it is equally far; where the text itself begins or ends is no border. ``begins`` says which of the text's
    tokens is the first in each row, ``before`` and ``after`` how many special tokens a row has.

    *Shape:* lengths ``[rows]``, special tokens included, begins ``[rows]``; result ``[tokens]``, special ones included.
    """
    sizes = [length - before - after for length in lengths]
    total = max(begin + size for begin, size in zip(begins, sizes, strict=True))
    farthest = np.full(total, -1, np.int64)
    places = np.empty(total, np.int64)
    start = 0
    for begin, size, length in zip(begins, sizes, lengths, strict=True):
        within, end = np.arange(size), begin + size
        to_begin = within if begin else np.full(size, total)
        to_end = within[::-1] if end < total else np.full(size, total)
        distance = np.minimum(to_begin, to_end)
        nearer = distance > farthest[begin:end]
        farthest[begin:end][nearer] = distance[nearer]
        places[begin:end][nearer] = start + before + within[nearer]
        start += length
    return np.concatenate((np.arange(before), places, np.arange(start - after, start)))
