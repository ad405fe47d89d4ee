"""What every token of a document should be, from what the oracle computed of its windows: none of the engine's code."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.proof.compare import Vector
from pipelines.proof.oracle import Computed
from pipelines.spec import TokensOptions, WordsOptions


def token_columns(rows: Sequence[Computed], options: TokensOptions | WordsOptions, tokens: int) -> list[Vector]:
    """The vectors of all tokens, special ones included, for each column. *Shape:* ``[columns][tokens, hidden]``.

    ``tokens`` is how many the row says there are, which tells how many neighbouring windows share. There may be others.
    """
    if options.each:
        return [once_each([row.hidden[layer] for row in rows], tokens - 2) for layer in options.layers]
    shares = options.weights or [1 / len(options.layers)] * len(options.layers)
    found: list[Vector] = []
    for row in rows:
        states = zip(options.layers, shares, strict=True)
        found.append(np.sum([row.hidden[layer] * np.float32(share) for layer, share in states], axis=0))
    return [once_each(found, tokens - 2)]


def once_each(values: Sequence[Vector], total: int) -> Vector:
    """Each of a text's ``total`` tokens from the window whose borders are farthest from it; where the text itself
    begins or ends is none. Special tokens are around them.

    Windows are all of one size but for the last, and each as far from the next.
    """
    if len(values) == 1:
        return values[0]
    sizes = [len(value) - 2 for value in values]
    step = min(max((total - sizes[-1]) // (len(values) - 1), 1), sizes[0])
    begins = [number * step for number in range(len(values))]
    total = begins[-1] + sizes[-1]
    chosen: list[Vector] = [values[0][0]]
    for token in range(total):
        best, from_border = 0, -1
        for number, (begin, size) in enumerate(zip(begins, sizes, strict=True)):
            if begin <= token < begin + size:
                left = token - begin if begin else total
                right = begin + size - 1 - token if number < len(values) - 1 else total
                if min(left, right) > from_border:
                    best, from_border = number, min(left, right)
        chosen.append(values[best][1 + token - begins[best]])
    return np.stack([*chosen, values[-1][-1]])
