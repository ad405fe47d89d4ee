"""Sentences to one row of ids and back, as fairseq's users know it: ``<s> a </s>``, ``<s> a </s> </s> b </s>``.

What is encoded is what fairseq encodes (https://github.com/facebookresearch/fairseq at 3d262bb2,
``fairseq/models/roberta/hub_interface.py``); what it decodes wrongly or not at all is named below.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipelines.errors import DocumentError
from pipelines.roberta.pieces import Pieces
from pipelines.roberta.tokenizer import Tokenizer


def encode(tokenizer: Tokenizer, sentences: Sequence[str], *, separator: bool = True) -> npt.NDArray[np.int32]:
    """One or more sentences as ids, *shape* ``[tokens]``; nothing is stripped, nothing is cut.

    Between two sentences stand two ``</s>``, or one without ``separator``. Literal ``</s>`` or ``<mask>`` in a text are
    text. Raises DocumentError where a text is no Unicode.
    """
    before, between, after = tokenizer.around
    row: list[int] = [*before]
    for number, sentence in enumerate(sentences):
        if number:
            row += between if separator else after
        row += bare(tokenizer, sentence).tolist()
    return np.array([*row, *after], np.int32)


def bare(tokenizer: Tokenizer, text: str) -> npt.NDArray[np.int32]:
    """The ids of a text without special ones, *shape* ``[tokens]``. Raises DocumentError where it is no Unicode."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        found = f"U+{ord(text[error.start]):04X} at character {error.start}"
        raise DocumentError(
            f"The text has half of a surrogate pair ({found}), which is no Unicode text.",
            "Read it again in the encoding that it was written in.",
        ) from None
    return tokenizer.bare(text)


def decode(tokenizer: Tokenizer, pieces: Pieces, ids: Sequence[int], *, padding: int) -> list[str]:
    """The sentences that a row of ids stands for: where two ``</s>`` meet, the next one begins.

    ``<mask>`` and ``<unk>`` stay in the text under these names. fairseq fails on ``<pad>``, which is left out here, and
    makes a third sentence of a pair with an empty side, which has two here. Raises ValueError as fairseq does for an id
    that stands for no text (a vocabulary's fillers, or none of its ids).
    """
    (begin, *_), _, (end, *_) = tokenizer.around
    left = [number for number in ids if number != padding]
    left = left[1:] if left[:1] == [begin] else left
    sentences: list[list[int]] = [[]]
    place = 0
    while place < len(left):
        number = left[place]
        place += 1
        if number == end:
            if left[place : place + 1] == [end]:
                place += 1
                sentences.append([])
        elif pieces.is_filler(number):
            raise ValueError(f"Token {number} ({pieces.name(number)}) stands for no text.")
        elif number != begin:
            sentences[-1].append(number)
    return [_text(pieces, sentence) for sentence in sentences]


def _text(pieces: Pieces, ids: Sequence[int]) -> str:
    text = pieces.text(ids)
    return text.removeprefix(" ") if pieces.begins_with_blank else text
