"""Ids of texts without special ones, and two of them joined with special ones around: what is put in is put by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pipelines.readings.inputs import Ids
from pipelines.readings.texts import ALL_TOKENS
from pipelines.roberta.tokenizer import Tokenizer


def bare_ids(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Ids]:
    """The ids of whole texts without special ones. *Shape:* ``[texts][tokens]``. Raises as ``Tokenizer.encode``."""
    before, _, after = tokenizer.around
    encoded = tokenizer.encode(texts, None, ALL_TOKENS)
    bounds = zip(encoded.offsets[:-1].tolist(), encoded.offsets[1:].tolist(), strict=True)
    return [encoded.ids[begin + len(before) : end - len(after)] for begin, end in bounds]


def bare_ids_of(tokenizer: Tokenizer, texts: Iterable[str]) -> dict[str, Ids]:
    """The same by text, each tokenised once."""
    unique = list(dict.fromkeys(texts))
    return dict(zip(unique, bare_ids(tokenizer, unique), strict=True))


def joined(*parts: Ids | Sequence[int]) -> Ids:
    """One row of ids, part after part."""
    return np.concatenate([np.asarray(part, np.int32) for part in parts])


def cut_around(length: int, begin: int, end: int, room: int) -> tuple[int, int]:
    """Of so many tokens the ``room`` with [begin, end) in their middle, or nearest to it: where they begin and end.

    Where that is more than there is room for, its first tokens.
    """
    start = begin if end - begin > room else begin - (room - (end - begin)) // 2
    start = max(0, min(start, length - room))
    return start, min(length, start + room)
