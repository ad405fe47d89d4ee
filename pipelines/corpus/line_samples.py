"""How much of a corpus's bytes a model will read, by a look at lines here and there: no file is read through for it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from pipelines.spec import Format, Shard

POSITIONS = 2048
AROUND_BYTES = 16 * 2**10
TIME_LIMIT_S = 0.5
_BY_LINES = (Format.JSONL, Format.CSV, Format.TSV, Format.TEXT)


def used_shares(shards: Sequence[Shard], cap: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Evenly spread places in a corpus, and which part of the line at each is used when ``cap`` bytes of it may be.

    The sum of the parts up to a place is in proportion to what is used up to there: a place falls into a line with the
    probability of its share of the bytes. What is compressed, or not in lines, or cannot be read, counts as used.
    *Shape:* ``[places]`` each; places in bytes from the corpus's start, in rising order.
    """
    ends = np.array([*accumulate(shard.size for shard in shards)], np.int64)
    total = int(ends[-1]) if len(ends) else 0
    places = (np.arange(POSITIONS) + 0.5) * total / POSITIONS
    parts = np.full(POSITIONS, np.nan)
    deadline = time.monotonic() + TIME_LIMIT_S
    for position in np.random.default_rng(0).permutation(POSITIONS) if total else []:
        if time.monotonic() > deadline:
            break
        number = int(np.searchsorted(ends, places[position], side="right"))
        offset = int(places[position]) - int(ends[number]) + shards[number].size
        parts[position] = _used_part(shards[number], offset, cap)
    known = ~np.isnan(parts)
    return places[known], parts[known]


def _used_part(shard: Shard, offset: int, cap: float) -> float:
    """Of the line around an offset; of a line longer than what is read around it little is used in any case."""
    if shard.compression != "none" or shard.format not in _BY_LINES:
        return 1.0
    start = max(0, offset - AROUND_BYTES)
    try:
        with open(shard.uri, "rb", buffering=0) as file:
            file.seek(start)
            block = file.read(2 * AROUND_BYTES)
    except OSError:
        return 1.0
    begin = block.rfind(b"\n", 0, offset - start) + 1
    end = block.find(b"\n", offset - start)
    size = (len(block) if end < 0 else end + 1) - begin
    return min(1.0, cap / size) if size > 0 else 1.0
