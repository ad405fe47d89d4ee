"""Questions with their contexts as a question answering model reads them: the question whole in every window."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.documents import Document, Reason
from pipelines.readings.inputs import Ids, Inputs, Unfit
from pipelines.readings.texts import ALL_TOKENS, windows
from pipelines.readings.trimmed_places import is_blank, trimmed
from pipelines.roberta.pieces import Pieces
from pipelines.roberta.tokenizer import Tokenizer

LEAST_SHARE = 4
"""Of a window at least one token in so many is left for the context: a longer question would make too many of them."""


@dataclass(frozen=True, slots=True)
class Window:
    """The stretch of a context that is in a row: where in the row it begins, and the characters of its tokens.

    *Shape:* places ``[tokens, 2]``, begin and end in the context, without blanks around them.
    """

    first: int
    places: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class ContextReading:
    """``<s> question </s></s> window of the context </s>``, of at most ``max_tokens`` tokens.

    The text of a document is its question, its pair the context, which is read to its end: windows share ``stride``
    tokens, but at most half of what a window has of the context.
    """

    tokenizer: Tokenizer
    pieces: Pieces
    max_tokens: int
    stride: int
    prefix: str = ""

    @property
    def key(self) -> Hashable:
        return ContextReading, self.stride

    def read(self, documents: Sequence[Document]) -> list[Inputs | Unfit]:
        """One row for each window of a document; ``text`` is the context, the notes are of :class:`Window`."""
        questions = self._bare([self.prefix + document.text for document in documents])
        contexts = self._bare([document.pair or "" for document in documents])
        return [
            self._inputs(question, context, document.pair)
            for question, context, document in zip(questions, contexts, documents, strict=True)
        ]

    def _bare(self, texts: Sequence[str]) -> list[Ids]:
        """The ids of whole texts without special ones."""
        before, _, after = self.tokenizer.around
        encoded = self.tokenizer.encode(texts, None, ALL_TOKENS)
        bounds = zip(encoded.offsets[:-1].tolist(), encoded.offsets[1:].tolist(), strict=True)
        return [encoded.ids[begin + len(before) : end - len(after)] for begin, end in bounds]

    def _inputs(self, question: Ids, context: Ids, text: str | None) -> Inputs | Unfit:
        if text is None:
            return Unfit(Reason.UNFIT, "A question without a context.")
        before, between, after = (np.array(ids, np.int32) for ids in self.tokenizer.around)
        head = np.concatenate((before, question, between))
        room = self.max_tokens - len(head) - len(after)
        most = self.max_tokens - self.max_tokens // LEAST_SHARE
        if room < 0 or (room < len(context) and self.max_tokens - room > most):
            return Unfit(
                Reason.TOO_LONG,
                f"The question has {len(question):,} tokens, with special ones it may take {most:,}"
                f" of the {self.max_tokens:,} of a window.",
            )
        bounds = [*windows(len(context), room, min(self.stride, room // 2))]
        places = trimmed(self.pieces.spans(context, text), is_blank(text)).astype(np.int32)
        total = len(head) + len(context) + len(after)
        return Inputs(
            tuple(np.concatenate((head, context[begin:end], after)) for begin, end in bounds),
            total,
            total,
            text,
            tuple(Window(len(head), places[begin:end]) for begin, end in bounds),
        )
