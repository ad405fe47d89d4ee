"""Words: each with its place in the text and the sum of its tokens' shares, whatever tokens the model reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.features.columns import feature_fields
from pipelines.features.protocol import Values
from pipelines.features.token_states import DocumentReader, DocumentTokens, Spans, row_vectors
from pipelines.features.vectors import Vectors, offsets_of, vector_lists
from pipelines.features.word_alignment import align, with_special
from pipelines.features.word_split import split_words
from pipelines.readings.inputs import Rows
from pipelines.roberta.states import Needs, States
from pipelines.roberta.tokenizer import Tokenizer
from pipelines.spec import FeatureSpec, WordsOptions, WordSource

Places = list[tuple[int, int]]
_BLANK = re.compile(r"\s")
_SOLID = re.compile(r"\S+")


class Words:
    """The words of a document's used part between ``<s>`` and a last row for what is behind them, ``</s>`` for one.

    The vector of a word is the sum of its tokens' shares (:mod:`pipelines.features.word_alignment`), so that the sum of
    all rows is that of all tokens. Of a document in windows tokens are chosen as :class:`Tokens` does.
    """

    nbytes = 0

    def __init__(self, spec: FeatureSpec, tokenizer: Tokenizer) -> None:
        assert isinstance(spec.options, WordsOptions)
        self.spec, self.options = spec, spec.options
        self.needs = Needs(tokens=frozenset(self.options.layers))
        self._reader = DocumentReader(tokenizer)
        first, last = self._reader.before[0], self._reader.after[-1]
        self._around = self._reader.pieces.name(first), self._reader.pieces.name(last)

    def fields(self) -> list[pa.Field]:
        return feature_fields(self.spec)

    def compute(self, states: States, notes: Sequence[Any]) -> tuple[Values, ...]:  # noqa: ARG002 (of the protocol)
        return row_vectors(states, self.options)

    def columns(self, values: Sequence[Values], rows: Rows) -> list[pa.Array]:
        words: list[list[str]] = []
        places: list[Spans] = []
        vectors: list[list[Vectors]] = [[] for _ in values]
        for document in self._reader.documents(values, rows):
            found = used_words(document.text, document.end, self.options.source)
            words.append([self._around[0], *(document.text[begin:end] for begin, end in found), self._around[1]])
            end = max(document.end, found[-1][1] if found else 0)  # the last word may be read in part
            places.append(document.places([(0, 0), *found, (end, end)]))
            for column, sums in zip(vectors, self._sums(document, found, end), strict=True):
                column.append(sums)
        offsets = offsets_of(words)
        begins, ends = np.concatenate(places).T
        return [
            pa.ListArray.from_arrays(offsets, pa.array([word for of_document in words for word in of_document])),
            pa.ListArray.from_arrays(offsets, pa.array(begins, pa.int32())),
            pa.ListArray.from_arrays(offsets, pa.array(ends, pa.int32())),
            *(vector_lists(column, self.options.storage) for column in vectors),
        ]

    def _sums(self, document: DocumentTokens, words: Places, end: int) -> list[Vectors]:
        """The vectors of ``<s>``, the words and what is behind them, for each column of vectors."""
        alignment = align(document.spans, words, document.text[:end])
        alignment = with_special(alignment, len(self._reader.before), len(self._reader.after))
        return [alignment.sums(vectors) for vectors in document.vectors]


def used_words(text: str, end: int, source: WordSource) -> Places:
    """The words that begin before ``end``, the last one whole: where each begins and ends, in characters."""
    blank = _BLANK.search(text, end)  # there a word ends for certain
    part = text[: blank.start()] if blank else text
    words = split_words(part) if source is WordSource.SPLIT else [match.span() for match in _SOLID.finditer(part)]
    return [(begin, stop) for begin, stop in words if begin < end]
