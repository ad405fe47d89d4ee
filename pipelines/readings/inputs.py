"""What a model is given of a document: one row of ids, or several, computed apart and merged after."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipelines.documents import Document, Reason

Ids = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Inputs:
    """A document as rows of ids, special ones included, none empty.

    ``n_tokens`` is the length of the whole document, ``n_used`` what is left of it after cutting, both in tokens with
    special ones. ``text`` is what was tokenised, prefix included; ``notes``, one for each row or none at all, are what
    features need beside the ids, such as where in the text a window begins.
    """

    rows: tuple[Ids, ...]
    n_tokens: int
    n_used: int
    text: str = ""
    notes: tuple[Any, ...] = ()
    prefix: int = 0


@dataclass(frozen=True, slots=True)
class Unfit:
    """Why a document cannot be read in the way that is asked for: it is quarantined for it."""

    reason: Reason
    detail: str


class Reading(Protocol):
    """A way to read documents for a model."""

    @property
    def key(self) -> Hashable:
        """Equal for readings that make the same rows of every document: their features share a forward pass."""
        ...

    def read(self, documents: Sequence[Document]) -> list[Inputs | Unfit]:
        """The inputs of each document. What it raises for several documents is found out one by one."""
        ...


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of some documents, one document after the other: what belongs to which, for merging.

    *Shape:* counts ``[documents]``, rows of each, at least 1; lengths ``[rows]``, tokens of each.
    """

    inputs: Sequence[Inputs]
    counts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """The first row of each document. *Shape:* ``[documents]``."""
        ends: npt.NDArray[np.int64] = np.cumsum(self.counts)
        return ends - self.counts

    def mean(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Of each document the mean over its rows, each weighing as many as its tokens.

        *Shape:* values ``[rows, width]``, result ``[documents, width]``; the same array where each has one row.
        """
        if len(self.counts) == len(self.lengths):
            return values
        weights = self.lengths.astype(np.float64)
        sums = np.add.reduceat(values * weights[:, None], self.starts, axis=0)
        return (sums / np.add.reduceat(weights, self.starts)[:, None]).astype(np.float32)

    def max(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Of each document the element-wise maximum over its rows. *Shape:* as :meth:`mean`."""
        if len(self.counts) == len(self.lengths):
            return values
        maxima: npt.NDArray[np.float32] = np.maximum.reduceat(values, self.starts, axis=0)
        return maxima
