"""The vectors of a document's tokens: what a forward pass leaves of each row, and each token once of all rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.features.embedding import mixed
from pipelines.features.once_each import once_each
from pipelines.features.protocol import ByRow, Values
from pipelines.features.vectors import Vectors
from pipelines.readings.inputs import Ids, Inputs, Rows
from pipelines.roberta.pieces import Pieces
from pipelines.roberta.states import States
from pipelines.roberta.tokenizer import Tokenizer
from pipelines.spec import TokensOptions, WordsOptions

Spans = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class DocumentTokens:
    """What a document was read as, special tokens included, whatever windows it was read in.

    *Shape:* ids ``[tokens]``, spans ``[tokens - special]`` (begin and end in characters), vectors
    ``[columns][tokens, hidden]``. ``end`` is where the part of the text ends that was read, ``prefix`` where the run's
    prefix ends.
    """

    text: str
    ids: Ids
    spans: Spans
    vectors: tuple[Vectors, ...]
    end: int
    prefix: int

    def places(self, places: npt.ArrayLike) -> Spans:
        """Places in characters of the text without the prefix, whose own are 0. *Shape:* ``[n, 2]`` both."""
        return np.maximum(np.asarray(places, np.int64) - self.prefix, 0)


def row_vectors(states: States, options: TokensOptions | WordsOptions) -> tuple[Values, ...]:
    """The token vectors of each row of a micro-batch, float32, for each column of vectors.

    *Shape:* ``[columns][rows][tokens of the row, hidden]``.
    """
    columns = [(layer,) for layer in options.layers] if options.each else [options.layers]
    made = (mixed([states.tokens(layer) for layer in layers], options.weights) for layers in columns)
    return tuple(ByRow(vectors, states.packing.lengths) for vectors in made)


class DocumentReader:
    """Puts the rows of documents together again."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.pieces = Pieces(tokenizer)
        self.before, _, self.after = tokenizer.around

    def documents(self, values: Sequence[Values], rows: Rows) -> Iterator[DocumentTokens]:
        """The tokens of each document, of what :func:`row_vectors` left of its rows."""
        for inputs, first, count in zip(rows.inputs, rows.starts.tolist(), rows.counts.tolist(), strict=True):
            yield self._document(inputs, [value[first : first + count] for value in values])

    def _document(self, inputs: Inputs, values: Sequence[Sequence[Vectors]]) -> DocumentTokens:
        ids, vectors = inputs.rows[0], tuple(rows[0] for rows in values)
        if len(inputs.rows) > 1:
            lengths = [len(row) for row in inputs.rows]
            places = once_each(lengths, inputs.notes, len(self.before), len(self.after))
            ids = np.concatenate(inputs.rows)[places]
            vectors = tuple(np.concatenate(rows)[places] for rows in values)
        spans = self.pieces.spans(ids[len(self.before) : len(ids) - len(self.after)], inputs.text)
        is_whole = inputs.n_used == inputs.n_tokens
        end = len(inputs.text) if is_whole else int(spans[:, 1].max(initial=0))
        return DocumentTokens(inputs.text, ids, spans, vectors, end, inputs.prefix)
