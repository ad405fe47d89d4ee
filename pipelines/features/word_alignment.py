"""Tokens to words: which tokens make up each word, and a word's vector as the sum of its tokens' shares.

The rule is that of fairseq (https://github.com/facebookresearch/fairseq at 3d262bb2, ``alignment_utils.py``): a token
that several words share gives each an equal part, so that the sum over all rows is kept. fairseq finds the words by
decoding tokens one by one, which fails for a character that is spread over several tokens, and drops the blanks of a
double blank; here they are found by their places in the text, and no token is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_BLANKS = np.zeros(0x3002, np.bool_)
_BLANKS[
    [*range(9, 14), *range(28, 33), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]
] = True
"""Whether ``str.isspace`` is true for a character, by its number; the last one stands for all behind it."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """Pairs of a row and one of its tokens, in order of rows; ``rows`` is how many there are: the words, and one more.

    The last row is of tokens behind the last word. *Shape:* row, token and share ``[pairs]``; the shares of each token
    add up to 1.
    """

    rows: int
    row: npt.NDArray[np.int64]
    token: npt.NDArray[np.int64]
    share: npt.NDArray[np.float32]

    def sums(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The vector of each row, zeros where it has no token; sums over rows are those over tokens.

        *Shape:* vectors ``[..., tokens, width]``, result ``[..., rows, width]``.
        """
        summed = np.zeros((*vectors.shape[:-2], self.rows, vectors.shape[-1]), np.float32)
        if len(self.row):
            there, starts = np.unique(self.row, return_index=True)
            parts = vectors[..., self.token, :] * self.share[:, None]
            summed[..., there, :] = np.add.reduceat(parts, starts, axis=-2)
        return summed


def align(spans: npt.NDArray[np.int64], words: Sequence[tuple[int, int]], text: str) -> Alignment:
    """Which of a text's tokens make up each of its words.

    A token belongs to the words that have one of its characters, where blanks count only in a token of blanks. One
    that is in no word, the second blank between two, say, goes to the next word, and behind the last word to the last
    row. A word without characters has no token, and zeros for a vector.

    *Shape:* spans ``[tokens, 2]`` (begin and end in characters), words in order and without overlap.
    """
    owner = np.full(len(text) + 1, -1, np.int64)
    for number, (begin, end) in enumerate(words):
        owner[begin:end] = number
    characters = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    blank = _BLANKS[np.minimum(characters, len(_BLANKS) - 1)]
    # Each character of each token, by the number of the token and its place in the text.
    tokens, sizes = len(spans), spans[:, 1] - spans[:, 0]
    token = np.repeat(np.arange(tokens), sizes)
    place = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes) + np.repeat(spans[:, 0], sizes)
    solid = ~blank[place]
    has_solid = np.bincount(token[solid], minlength=tokens) > 0
    counts = (owner[place] >= 0) & (solid | ~has_solid[token])
    # A pair as one number: their order is that of rows, and of tokens within a row.
    base = max(tokens, 1)
    pairs = np.unique(owner[place][counts] * base + token[counts])

    # Those that are in no word go to the next: the first word of the next token that is in one.
    first = np.full(tokens, len(words), np.int64)
    first[pairs[::-1] % base] = pairs[::-1] // base  # the lowest word of a token is written last
    following = np.minimum.accumulate(first[::-1])[::-1]
    homeless = np.ones(tokens, np.bool_)
    homeless[pairs % base] = False
    pairs = np.sort(np.concatenate((pairs, following[homeless] * base + np.flatnonzero(homeless))))
    rows, owned = np.divmod(pairs, base)
    share = 1 / np.bincount(owned, minlength=tokens)[owned]
    return Alignment(len(words) + 1, rows, owned, share.astype(np.float32))


def with_special(alignment: Alignment, before: int, after: int) -> Alignment:
    """The same for tokens with special ones around them: those before are a row of their own, those after the last's.

    Rows are then ``<s>``, the words, and what is behind them.
    """
    tokens = int(alignment.token.max(initial=-1)) + 1
    first, last = np.arange(before), np.arange(before + tokens, before + tokens + after)
    return Alignment(
        alignment.rows + 1,
        np.concatenate((np.zeros(before, np.int64), alignment.row + 1, np.full(after, alignment.rows))),
        np.concatenate((first, alignment.token + before, last)),
        np.concatenate((np.ones(before, np.float32), alignment.share, np.ones(after, np.float32))),
    )


def joined_words(words: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """Given words as a text, with a blank between two, and where each of them is in it."""
    ends = np.cumsum([len(word) + 1 for word in words], dtype=np.int64) - 1
    return " ".join(words), [(int(end) - len(word), int(end)) for word, end in zip(words, ends, strict=True)]
