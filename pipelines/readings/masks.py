"""Texts with one ``<mask>``, which in this reading is the mask itself and no text."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from pipelines.documents import Document, Reason
from pipelines.errors import DocumentError
from pipelines.readings.inputs import Ids, Inputs, Unfit
from pipelines.readings.joined_ids import bare_ids, cut_around, joined
from pipelines.readings.mask_texts import around_mask
from pipelines.roberta.tokenizer import Tokenizer
from pipelines.spec import Long


@dataclass(frozen=True, slots=True)
class MaskReading:
    """The note of a document's row is where in it the mask is.

    Of a text that is too long the tokens around the mask are read; with the policy ``error`` it is set aside.
    """

    tokenizer: Tokenizer
    max_tokens: int
    prefix: str
    long: Long
    mask: int

    @property
    def key(self) -> Hashable:
        return MaskReading

    def read(self, documents: Sequence[Document]) -> list[Inputs | Unfit]:
        texts = [self.prefix + document.text for document in documents]
        found: list[tuple[str, str] | Unfit] = []
        for text in texts:
            try:
                found.append(around_mask(text))
            except DocumentError as error:
                found.append(Unfit(Reason.UNFIT, error.message))
        ids = iter(bare_ids(self.tokenizer, [side for one in found if not isinstance(one, Unfit) for side in one]))
        return [
            one if isinstance(one, Unfit) else self._inputs(text, next(ids), next(ids))
            for text, one in zip(texts, found, strict=True)
        ]

    def _inputs(self, text: str, first: Ids, second: Ids) -> Inputs | Unfit:
        before, _, after = self.tokenizer.around
        special = len(before) + len(after)
        body, place = joined(first, [self.mask], second), len(first)
        n_tokens = len(body) + special
        if n_tokens > self.max_tokens and self.long is Long.ERROR:
            return Unfit(Reason.TOO_LONG, f"The text has {n_tokens:,} tokens, {self.max_tokens:,} are allowed.")
        begin, end = cut_around(len(body), place, place + 1, self.max_tokens - special)
        row = joined(before, body[begin:end], after)
        return Inputs((row,), n_tokens, len(row), text, (len(before) + place - begin,))
