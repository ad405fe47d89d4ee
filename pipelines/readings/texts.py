"""Texts and pairs as a model reads them: cut to what it takes, window by window, or not at all if too long."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.documents import Document, Reason
from pipelines.readings.inputs import Ids, Inputs, Unfit
from pipelines.roberta.tokenizer import Tokenizer
from pipelines.spec import TRUNCATED, Long, LongTexts

ALL_TOKENS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class TextReading:
    """``<s> text </s>`` or ``<s> text </s></s> pair </s>``, of at most ``max_tokens`` tokens each.

    In windows a document may have ``most`` tokens altogether. Without ``pairs`` a document's pair is no sentence.
    """

    tokenizer: Tokenizer
    max_tokens: int
    prefix: str = ""
    long: LongTexts = TRUNCATED
    most: int = ALL_TOKENS
    pairs: bool = True

    @property
    def key(self) -> Hashable:
        return TextReading

    def read(self, documents: Sequence[Document]) -> list[Inputs | Unfit]:
        """The ids of each document; with windows as many rows as it needs, each with special tokens of its own.

        The note of a row is which of the text's tokens is the first in it.
        """
        texts = [self.prefix + document.text for document in documents]
        windows = self.long.policy is Long.WINDOW
        pairs = [document.pair for document in documents] if self.pairs else None
        encoded = self.tokenizer.encode(texts, pairs, ALL_TOKENS if windows else self.max_tokens)
        bounds = zip(encoded.offsets[:-1].tolist(), encoded.offsets[1:].tolist(), strict=True)
        rows = [encoded.ids[begin:end] for begin, end in bounds]
        counts = zip(texts, rows, encoded.n_tokens.tolist(), encoded.n_used.tolist(), strict=True)
        return [self._inputs(text, row, n_tokens, n_used) for text, row, n_tokens, n_used in counts]

    def _inputs(self, text: str, row: Ids, n_tokens: int, n_used: int) -> Inputs | Unfit:
        if n_tokens <= self.max_tokens or self.long.policy is Long.TRUNCATE:
            return Inputs((row,), n_tokens, n_used, text, (0,), len(self.prefix))
        allowed = self.max_tokens if self.long.policy is Long.ERROR else self.most
        if n_tokens > allowed:
            return Unfit(Reason.TOO_LONG, f"The text has {n_tokens:,} tokens, {allowed:,} are allowed.")
        before, _, after = (np.array(ids, np.int32) for ids in self.tokenizer.around)
        body = row[len(before) : len(row) - len(after)]
        bounds = [*windows(len(body), self.max_tokens - len(before) - len(after), self.long.stride)]
        parts = tuple(np.concatenate((before, body[begin:end], after)) for begin, end in bounds)
        return Inputs(parts, n_tokens, n_used, text, tuple(begin for begin, _ in bounds), len(self.prefix))


def windows(length: int, room: int, stride: int) -> Iterator[tuple[int, int]]:
    """Bounds of windows over so many tokens, each of ``room`` but for the last; neighbours share ``stride`` tokens.

    The last one ends where the text ends, and begins where it would in any case: nothing is read twice but the stride.
    """
    begin = 0
    while begin + room < length:
        yield begin, begin + room
        begin += room - stride
    yield begin, length
