"""Tokens: each with what it stands for, where in the text it comes from, and its vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.features.columns import feature_fields
from pipelines.features.protocol import Values
from pipelines.features.token_states import DocumentReader, DocumentTokens, Spans, row_vectors
from pipelines.features.vectors import offsets_of, vector_lists
from pipelines.readings.inputs import Rows
from pipelines.roberta.states import Needs, States
from pipelines.roberta.tokenizer import Tokenizer
from pipelines.spec import FeatureSpec, TokensOptions


class Tokens:
    """All used tokens of a document, ``<s>`` first and ``</s>`` last.

    Of a document in windows each token is there once, with its vector from the window that knows most around it.
    """

    nbytes = 0

    def __init__(self, spec: FeatureSpec, tokenizer: Tokenizer) -> None:
        assert isinstance(spec.options, TokensOptions)
        self.spec, self.options = spec, spec.options
        self.needs = Needs(tokens=frozenset(self.options.layers))
        self._reader = DocumentReader(tokenizer)

    def fields(self) -> list[pa.Field]:
        return feature_fields(self.spec)

    def compute(self, states: States, notes: Sequence[Any]) -> tuple[Values, ...]:  # noqa: ARG002 (of the protocol)
        return row_vectors(states, self.options)

    def columns(self, values: Sequence[Values], rows: Rows) -> list[pa.Array]:
        documents = [*self._reader.documents(values, rows)]
        offsets = offsets_of([document.ids for document in documents])
        ids = np.concatenate([document.ids for document in documents])
        known, which = np.unique(ids, return_inverse=True)
        pieces = pa.array([self._reader.pieces.text_or_name(number) for number in known.tolist()], pa.string())
        spans = np.concatenate([self._spans(document) for document in documents])
        return [
            pa.ListArray.from_arrays(offsets, pieces.take(pa.array(which))),
            pa.ListArray.from_arrays(offsets, pa.array(ids, pa.int32())),
            pa.ListArray.from_arrays(offsets, pa.array(spans[:, 0], pa.int32())),
            pa.ListArray.from_arrays(offsets, pa.array(spans[:, 1], pa.int32())),
            *(
                vector_lists([document.vectors[number] for document in documents], self.options.storage)
                for number in range(len(values))
            ),
        ]

    def _spans(self, document: DocumentTokens) -> Spans:
        """Where in the text each token comes from; special ones, of no characters, stand around it."""
        before, after = len(self._reader.before), len(self._reader.after)
        spans = (np.zeros((before, 2), np.int64), document.spans, np.full((after, 2), document.end))
        return document.places(np.concatenate(spans))
