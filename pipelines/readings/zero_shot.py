"""Texts with what each label makes of a hypothesis: ``<s> text </s></s> This example is sports. </s>``, row by row."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from pipelines.documents import Document, Reason
from pipelines.readings.inputs import Ids, Inputs, Unfit
from pipelines.readings.joined_ids import bare_ids, joined
from pipelines.readings.texts import windows
from pipelines.roberta.tokenizer import Tokenizer
from pipelines.spec import Long, LongTexts

PLACE = "{}"
"""Where a label stands in the template of the hypotheses."""


@dataclass(frozen=True, slots=True)
class ZeroShotReading:
    """The rows of a document are those of its first window, a row for each hypothesis, then those of the next.

    Of a text that is too long the end is cut, of a hypothesis nothing: as transformers' pipeline does it
    (https://github.com/huggingface/transformers, ``pipelines/zero_shot_classification.py``).
    """

    tokenizer: Tokenizer
    max_tokens: int
    prefix: str
    long: LongTexts
    hypotheses: tuple[str, ...]

    @property
    def key(self) -> Hashable:
        return ZeroShotReading, self.hypotheses

    def read(self, documents: Sequence[Document]) -> list[Inputs | Unfit]:
        texts = [self.prefix + document.text for document in documents]
        seconds = bare_ids(self.tokenizer, self.hypotheses)
        rows = zip(texts, bare_ids(self.tokenizer, texts), strict=True)
        return [self._inputs(text, ids, seconds) for text, ids in rows]

    def _inputs(self, text: str, ids: Ids, seconds: Sequence[Ids]) -> Inputs | Unfit:
        before, between, after = self.tokenizer.around
        room = self.max_tokens - len(before) - len(between) - len(after)
        tightest = room - max(map(len, seconds))
        n_tokens = len(ids) + self.max_tokens - tightest
        if len(ids) > tightest and self.long.policy is Long.ERROR:
            return Unfit(
                Reason.TOO_LONG,
                f"The text and its hypothesis have {n_tokens:,} tokens, {self.max_tokens:,} are allowed.",
            )
        if self.long.policy is Long.WINDOW:
            cuts = [*windows(len(ids), tightest, self.long.stride)]
            pairs = [(ids[begin:end], second) for begin, end in cuts for second in seconds]
        else:
            pairs = [(ids[: room - len(second)], second) for second in seconds]
        rows = tuple(joined(before, first, between, second, after) for first, second in pairs)
        return Inputs(rows, n_tokens, min(n_tokens, self.max_tokens), text)


def hypotheses_of(template: str, labels: Sequence[str]) -> tuple[str, ...]:
    """What each label makes of the template."""
    return tuple(template.replace(PLACE, label) for label in labels)
