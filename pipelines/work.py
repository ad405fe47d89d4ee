"""A batch under way: what is known of each of its documents, and what a failure costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from pipelines.documents import Document, Reason, Reject, Stage, input_digest, reject_of
from pipelines.errors import PenstockError, ProcessError
from pipelines.recall import Place, Recall
from pipelines.roberta.failures import is_device_lost, is_out_of_memory
from pipelines.suspicion import Suspicion

DETAIL_CHARACTERS = 300

Taking = Callable[[str, Iterable[int]], None]
"""Called with the stage and the documents (indices into the batch's) that are taken in hand; empty when none is.

The oldest come first; one of several rows may come more than once."""


@dataclass(slots=True)
class Work:
    """A batch under way: what is known of each of its documents, by index."""

    documents: list[Document]
    on_taking: Taking
    suspicion: Suspicion
    rejected: dict[int, Reject] = field(default_factory=dict)
    repeats: dict[int, int] = field(default_factory=dict)
    """Documents that are not computed, and the one before with the same text."""
    recalled: dict[int, Place] = field(default_factory=dict)
    """Documents that are not computed, and where the facts of their text are: an earlier batch had it."""

    def __post_init__(self) -> None:
        for index, guilt in self.suspicion.guilty.items():
            document = self.documents[index]
            self.rejected[index] = reject_of(document, Stage.EXTRACT, guilt.reason, guilt.detail, guilt.attempts)

    def groups(self) -> Iterator[npt.NDArray[np.intp]]:
        """The documents not rejected, to be computed apart from one another: each group of suspects, then the rest."""
        suspects = self.suspicion.suspects
        others = suspects | self.repeats.keys() | self.recalled.keys()
        rest = [index for index in range(len(self.documents)) if index not in others]
        for group in (*self.suspicion.groups, rest):
            yield np.array([index for index in group if index not in self.rejected], np.intp)

    def find_repeats(self, recall: Recall) -> None:
        """Let equal texts be computed once; not in a batch with suspects, for each of them has to clear itself."""
        if self.suspicion.suspects or self.rejected:
            return
        first: dict[tuple[str, str | None], int] = {}
        for index, document in enumerate(self.documents):
            there = first.setdefault((document.text, document.pair), index)
            if there != index:
                self.repeats[index] = there
            elif (place := recall.find(input_digest(document.text, document.pair))) is not None:
                self.recalled[index] = place

    def fill_repeats(self) -> None:
        """What became of a text becomes of all documents that have it."""
        for index, first in self.repeats.items():
            if (reject := self.rejected.get(first)) is not None:
                self.rejected[index] = reject_of(
                    self.documents[index], reject.stage, reject.reason, reject.detail, reject.attempts
                )

    def alive(self) -> npt.NDArray[np.intp]:
        """Indices of the documents that were not rejected."""
        return np.array([index for index in range(len(self.documents)) if index not in self.rejected], np.intp)

    def places(self, documents: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """Those of some documents that were not rejected, by their places among them."""
        return np.array(
            [place for place, index in enumerate(documents.tolist()) if index not in self.rejected], np.intp
        )

    def sources(self, alive: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """The documents that were computed for these: each itself, or the one before with the same text."""
        return np.array([self.repeats.get(index, index) for index in alive.tolist()], np.intp)

    def reject(self, index: int, reason: Reason, detail: str) -> None:
        """Set one document aside; the first reason stays."""
        if index not in self.rejected:
            self.rejected[int(index)] = reject_of(self.documents[index], Stage.EXTRACT, reason, detail)

    def split_or_reject(
        self, part: npt.NDArray[np.intp], error: Exception, owners: npt.NDArray[np.intp] | None = None
    ) -> list[npt.NDArray[np.intp]]:
        """What to try instead of ``part``, last first: its halves; nothing for a single one, which is rejected.

        ``part`` are documents, or places and rows of which ``owners`` has the documents. Raises ProcessError where the
        device is lost, and passes exceptions on that are not the documents' fault.
        """
        if isinstance(error, PenstockError):
            raise error
        detail = " ".join(f"{type(error).__name__}: {error}".split())[:DETAIL_CHARACTERS]
        if is_device_lost(error):
            raise ProcessError(f"The device is lost: {detail}.", "This process ends; a new one takes over.") from error
        error.__traceback__ = None  # its frames hold the tensors that did not fit
        memory = is_out_of_memory(error)
        if memory:
            torch.cuda.empty_cache()  # does nothing where CUDA is not in use
        if len(part) == 1:
            finite = Reason.NOT_FINITE if isinstance(error, FloatingPointError) else Reason.CRASH
            owner = part[0] if owners is None else owners[part[0]]
            self.reject(owner, Reason.OUT_OF_MEMORY if memory else finite, detail)
            return []
        middle = len(part) // 2
        return [part[middle:], part[:middle]]
