"""Sentences with a pronoun, a row for each thing that it may stand for: put in its place, and masked there."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.documents import Document, Reason
from pipelines.errors import DocumentError
from pipelines.readings.attached_values import attached_values, text_list
from pipelines.readings.inputs import Ids, Inputs, Unfit
from pipelines.readings.joined_ids import bare_ids, cut_around, joined
from pipelines.readings.noun_phrases import noun_phrases
from pipelines.readings.pronoun_sentences import cleaned_query, masked, parse_pronoun_sentence, rivals
from pipelines.roberta.pieces import Pieces
from pipelines.roberta.tokenizer import Tokenizer
from pipelines.spec import Long, Role


@dataclass(frozen=True, slots=True, eq=False)
class Masked:
    """What is masked in a row: a candidate, or the query. *Shape:* places (in the row) and ids ``[tokens]``."""

    text: str
    is_query: bool
    places: npt.NDArray[np.int64]
    ids: Ids


@dataclass(frozen=True, slots=True)
class PronounReading:
    """The rows have no ``<s>``, as fairseq's model for Winograd schemas was trained; the query's, if any, is the first.

    The note of a row is what is masked in it. With ``find`` the candidates are the noun phrases that spaCy finds, else
    they are attached. Of a sentence that is too long what is around the pronoun is read; with the policy ``error`` it
    is set aside.
    """

    tokenizer: Tokenizer
    pieces: Pieces
    max_tokens: int
    prefix: str
    long: Long
    mask: int
    find: bool

    @property
    def key(self) -> Hashable:
        return PronounReading, self.find

    def read(self, documents: Sequence[Document]) -> list[Inputs | Unfit]:
        return [self._read(document) for document in documents]

    def _read(self, document: Document) -> Inputs | Unfit:
        try:
            return self._inputs(document)
        except DocumentError as error:
            return Unfit(Reason.UNFIT, error.message)

    def _inputs(self, document: Document) -> Inputs | Unfit:
        sentence = parse_pronoun_sentence(self.prefix + document.text)
        query = None if sentence.query is None else cleaned_query(sentence.query)
        found = (
            noun_phrases(sentence.text)
            if self.find
            else text_list(attached_values(document).get(Role.CANDIDATES), "candidates")
        )
        candidates = rivals(found, query)
        if not candidates:
            beside = "" if query is None else f" beside {query!r}"
            raise DocumentError(f"There is no candidate for the pronoun{beside}.")
        asked = [*([query] if query is not None else []), *candidates]
        texts = [sentence.with_candidate(one) for one in asked]
        _, _, after = self.tokenizer.around
        rows: list[Ids] = []
        notes: list[Masked] = []
        longest = 0
        for one, (text, first, last), ids in zip(
            asked, texts, bare_ids(self.tokenizer, [text for text, _, _ in texts]), strict=True
        ):
            covered, places = masked(ids, self.pieces.spans(ids, text), first, last, self.mask)
            if not len(places):
                raise DocumentError(f"The candidate {one!r} has no tokens.")
            longest = max(longest, len(ids) + len(after))
            begin, end = cut_around(len(ids), int(places[0]), int(places[-1]) + 1, self.max_tokens - len(after))
            places = places[(places >= begin) & (places < end)]
            rows.append(joined(covered[begin:end], after))
            notes.append(Masked(one, query is not None and not notes, places - begin, ids[places]))
        if longest > self.max_tokens and self.long is Long.ERROR:
            return Unfit(Reason.TOO_LONG, f"The text has {longest:,} tokens, {self.max_tokens:,} are allowed.")
        return Inputs(tuple(rows), longest, min(longest, self.max_tokens), sentence.text, tuple(notes))
