"""The rows of ids that a batch's documents are read as, and what the features of a forward pass keep of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.features.protocol import Values
from pipelines.readings.inputs import Ids, Inputs, Rows

Indices = npt.NDArray[np.intp]


class Kept:
    """One forward pass over a batch, row by row; documents without inputs have no rows.

    *Shape:* rows ``[rows][tokens]``; owners ``[rows]``, the document of each; last ``[rows]``, whether it is the
    document's last one.
    """

    def __init__(self, inputs: Sequence[Inputs | None]) -> None:
        self._inputs = inputs
        self._counts = np.array([len(one.rows) if one is not None else 0 for one in inputs], np.int64)
        self._starts = np.cumsum(self._counts) - self._counts
        self.rows: list[Ids] = [row for one in inputs if one is not None for row in one.rows]
        self.notes = [note for one in inputs if one is not None for note in one.notes or (None,) * len(one.rows)]
        self.lengths = np.array([len(row) for row in self.rows], np.int64)
        self.owners = np.repeat(np.arange(len(inputs)), self._counts)
        self.last = np.append(self.owners[1:] != self.owners[:-1], True)[: len(self.rows)]
        self._values: dict[tuple[int, int], Any] = {}

    def rows_of(self, documents: Indices) -> Indices:
        """The rows of some documents, in their order."""
        counts = self._counts[documents]
        ends = np.cumsum(counts)
        within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)
        rows: Indices = np.repeat(self._starts[documents], counts) + within
        return rows

    def store(self, feature: int, part: Indices, values: Sequence[Values]) -> Indices:
        """Keep a feature's values of some rows; returns the documents of which some are no finite numbers."""
        bad = np.zeros(len(part), np.bool_)
        for number, value in enumerate(values):
            if isinstance(value, np.ndarray):
                if (feature, number) not in self._values:
                    self._values[feature, number] = np.zeros((len(self.rows), *value.shape[1:]), value.dtype)
                self._values[feature, number][part] = value
                if np.issubdtype(value.dtype, np.floating):
                    bad |= ~np.isfinite(value).reshape(len(part), -1).all(axis=1)
            else:
                there = self._values.setdefault((feature, number), [None] * len(self.rows))
                for index, (row, item) in enumerate(zip(part.tolist(), value, strict=True)):
                    there[row] = item
                    bad[index] |= isinstance(item, np.ndarray) and not _is_finite(item)
        return np.unique(self.owners[part[bad]])

    def values(self, feature: int, documents: Indices) -> tuple[list[Values], Rows]:
        """What a feature kept of some documents' rows, and which rows are whose."""
        rows = self.rows_of(documents)
        whole = len(rows) == len(self.rows) and bool((rows == np.arange(len(rows))).all())
        found: list[Values] = []
        for number in range(sum(place == feature for place, _ in self._values)):
            value = self._values[feature, number]
            if isinstance(value, np.ndarray):
                found.append(value if whole else value[rows])
            else:
                found.append([value[row] for row in rows.tolist()])
        inputs = [one for one in (self._inputs[index] for index in documents.tolist()) if one is not None]
        return found, Rows(inputs, self._counts[documents], self.lengths[rows])


def _is_finite(item: npt.NDArray[Any]) -> bool:
    return not np.issubdtype(item.dtype, np.floating) or bool(np.isfinite(item).all())
