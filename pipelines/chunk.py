"""Documents of a batch that are tokenised and handed to the device together, while it has those before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.kept import Kept
from pipelines.readings.inputs import Inputs

FIRST_DOCUMENTS = 1024
"""In a batch's first chunk, for which the device waits; each next one has twice as many, up to:"""
MOST_DOCUMENTS = 4096


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some documents, by index into the batch's, and what became of them.

    ``measured`` is what the run's model is given of each that can be read, by its place among these documents;
    ``passes`` what the features of each forward pass keep.
    """

    documents: npt.NDArray[np.intp]
    measured: Mapping[int, Inputs]
    passes: tuple[Kept, ...]


def chunks(documents: npt.NDArray[np.intp]) -> Iterator[npt.NDArray[np.intp]]:
    """A group of documents in chunks, smaller ones first."""
    start, size = 0, FIRST_DOCUMENTS
    while start < len(documents):
        yield documents[start : start + size]
        start, size = start + size, min(2 * size, MOST_DOCUMENTS)
