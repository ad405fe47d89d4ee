"""Spans: what a token classifier finds in a text, neighbouring tokens of one kind put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
import torch.nn.functional as F  # noqa: N812 (torch calls it so)

from pipelines.features.columns import feature_fields
from pipelines.features.once_each import once_each
from pipelines.features.protocol import ByRow, Values
from pipelines.features.span_groups import (
    OUTSIDE,
    Spans,
    Tags,
    continuing,
    each_token,
    span_groups,
    words_by_mean,
    words_by_one,
)
from pipelines.features.token_head import TokenHead
from pipelines.readings.inputs import Inputs, Rows
from pipelines.readings.trimmed_places import is_blank, trimmed
from pipelines.roberta.heads import Kind
from pipelines.roberta.pieces import Pieces
from pipelines.roberta.states import LAST_TOKENS, States
from pipelines.roberta.tokenizer import Tokenizer
from pipelines.spec import Aggregation, FeatureSpec, SpansOptions

_KINDS = (pa.float32(), pa.int32(), pa.int32())
"""Of scores, begins and ends."""


class TokenSpans:
    """Label, score, place and text of each span; places are in characters of the text without the run's prefix.

    Every token of a document in windows is judged in the window in which it is farthest from a border; spans are found
    after that, so that they may reach over borders.
    """

    needs = LAST_TOKENS

    def __init__(
        self, spec: FeatureSpec, tokenizer: Tokenizer, device: torch.device, *, batch_invariant: bool = False
    ) -> None:
        assert isinstance(spec.options, SpansOptions)
        self.spec, self.options = spec, spec.options
        self._head = TokenHead(spec.model, Kind.TOKENS, device, batch_invariant=batch_invariant)
        self.nbytes = self._head.nbytes
        self._tags = Tags.of(self.options.labels)
        self._pieces = Pieces(tokenizer)
        before, _, after = tokenizer.around
        self._before, self._after = len(before), len(after)

    def fields(self) -> list[pa.Field]:
        return feature_fields(self.spec)

    def compute(self, states: States, notes: Sequence[Any]) -> tuple[Values, ...]:  # noqa: ARG002 (of the protocol)
        probabilities = F.softmax(self._head(states.tokens()), dim=-1)
        if self.options.aggregation is Aggregation.AVERAGE:
            return (ByRow(probabilities, states.packing.lengths),)
        scores, classes = probabilities.max(dim=-1)
        return ByRow(classes.int(), states.packing.lengths), ByRow(scores, states.packing.lengths)

    def columns(self, values: Sequence[Values], rows: Rows) -> list[pa.Array]:
        found = _Found()
        for inputs, start, count in zip(rows.inputs, rows.starts.tolist(), rows.counts.tolist(), strict=True):
            self._document(inputs, [value[start : start + count] for value in values], found)
        return [found.column(self._names, self.fields()[0].type)]

    @property
    def _names(self) -> tuple[str, ...]:
        return self.options.labels if self.options.aggregation is Aggregation.NONE else self._tags.names

    def _document(self, inputs: Inputs, values: Sequence[Values], found: _Found) -> None:
        """Find the spans of one document, of which ``values`` are what was kept, one item per row."""
        lengths = [len(row) for row in inputs.rows]
        tokens = once_each(lengths, inputs.notes, self._before, self._after)
        tokens = tokens[self._before : len(tokens) - self._after]
        kept = [np.concatenate(value)[tokens] for value in values]
        ids = np.concatenate(inputs.rows)[tokens]
        blank = is_blank(inputs.text)
        places = trimmed(self._pieces.spans(ids, inputs.text), blank)
        continues = continuing(places[:, 0], blank) & (ids != self._pieces.unknown)
        own = places[:, 1] > inputs.prefix if inputs.prefix else slice(None)
        spans = self._spans([value[own] for value in kept], continues[own])
        begins = np.maximum(places[own, 0][spans.first], inputs.prefix)
        ends = places[own, 1][spans.last]
        outside = np.array([name == OUTSIDE for name in self._names], np.bool_)
        chosen = ~outside[spans.classes]
        bounds = zip(begins[chosen].tolist(), ends[chosen].tolist(), strict=True)
        found.add(
            spans.classes[chosen],
            spans.scores[chosen],
            begins[chosen] - inputs.prefix,
            ends[chosen] - inputs.prefix,
            [inputs.text[begin:end] for begin, end in bounds],
        )

    def _spans(self, kept: Sequence[Any], continues: Any) -> Spans:
        aggregation = self.options.aggregation
        if aggregation is Aggregation.AVERAGE:
            return span_groups(self._tags, words_by_mean(kept[0], continues))
        classes, scores = kept
        if aggregation is Aggregation.NONE:
            return each_token(classes, scores)
        if aggregation is Aggregation.SIMPLE:
            return span_groups(self._tags, each_token(classes, scores))
        return span_groups(self._tags, words_by_one(aggregation, classes, scores, continues))


class _Found:
    """The spans of several documents, one after the other; a tagger of every word finds as many as there are words."""

    def __init__(self) -> None:
        self._offsets = [0]
        self._classes: list[npt.NDArray[np.int64]] = []
        self._numbers: tuple[list[pa.Array], ...] = ([], [], [])
        self._texts: list[pa.Array] = []

    def add(
        self,
        classes: npt.NDArray[np.int64],
        scores: npt.NDArray[np.float32],
        begins: npt.NDArray[np.int64],
        ends: npt.NDArray[np.int64],
        texts: list[str],
    ) -> None:
        """The spans of the next document. *Shape:* all ``[spans]``."""
        self._offsets.append(self._offsets[-1] + len(classes))
        self._classes.append(classes)
        for there, values, kind in zip(self._numbers, (scores, begins, ends), _KINDS, strict=True):
            there.append(pa.array(values, kind))
        self._texts.append(pa.array(texts, pa.string()))

    def column(self, names: Sequence[str], dtype: pa.DataType) -> pa.Array:
        labels = pa.array(names, pa.string()).take(pa.array(np.concatenate(self._classes)))
        values = [labels, *map(pa.concat_arrays, self._numbers), pa.concat_arrays(self._texts)]
        structs = pa.StructArray.from_arrays(values, fields=list(dtype.value_type))
        return pa.ListArray.from_arrays(pa.array(self._offsets, pa.int32()), structs, type=dtype)
