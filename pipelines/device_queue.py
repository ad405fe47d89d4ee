"""Micro-batches that were handed to the device, oldest first: each is collected when the device is done with it.

The device computes while the next documents are tokenised and handed over; what waits here is bounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.features.fetch import Outcome
from pipelines.kept import Kept
from pipelines.work import Work

NO_DOCUMENTS = np.empty(0, np.intp)


@dataclass(frozen=True, slots=True)
class Pass:
    """A forward pass (the run's ``number``-th) over some documents of a batch.

    *Shape:* documents ``[documents]``, indices into the batch's; costs ``[rows]``, as the token budget counts.
    """

    number: int
    documents: npt.NDArray[np.intp]
    kept: Kept
    costs: npt.NDArray[np.float64]

    @property
    def owners(self) -> npt.NDArray[np.intp]:
        """The document of each row. *Shape:* ``[rows]``."""
        owners: npt.NDArray[np.intp] = self.documents[self.kept.owners]
        return owners


@dataclass(frozen=True, slots=True)
class Launched:
    """Some rows of a pass, on the device. *Shape:* rows ``[rows]``, documents ``[documents]``, indices."""

    of: Pass
    rows: npt.NDArray[np.intp]
    documents: npt.NDArray[np.intp]
    outcome: Outcome
    alone: bool = False
    """Whether nothing was computed beside it."""


class DeviceQueue:
    """The micro-batches of one batch that are under way, ``most`` at a time.

    Whatever is taken in hand is noted together with them.
    """

    def __init__(self, work: Work, most: int) -> None:
        self._work, self._most = work, most
        self._waiting: deque[Launched] = deque()
        self._asked: Launched | None = None

    def take(self, stage: str, documents: npt.NDArray[np.intp] = NO_DOCUMENTS) -> None:
        """Note what is taken in hand: a device that dies may die of whatever it has."""
        self._work.on_taking(stage, np.concatenate([*(launched.documents for launched in self._waiting), documents]))

    def put(self, launched: Launched) -> None:
        """One more is under way."""
        self._waiting.append(launched)

    def done(self) -> Iterator[Launched]:
        """What the device is done with, and the oldest where there are too many."""
        while self._waiting and (self._waiting[0].outcome.is_ready or len(self._waiting) > self._most):
            yield self._next()

    def rest(self, passes: Sequence[Kept] | None = None) -> Iterator[Launched]:
        """All that is under way, or all up to the last one of these passes."""
        while any(passes is None or launched.of.kept in passes for launched in self._waiting):
            yield self._next()

    def drop(self) -> None:
        """Nobody will ask for what is under way any more: the batch is given up."""
        while self._waiting:
            self._waiting.pop().outcome.drop()  # the last first: those that nobody has begun
        if self._asked is not None:
            self._asked.outcome.drop()

    def _next(self) -> Launched:
        if not self._waiting[0].outcome.is_ready:
            self.take("wait")  # for it, while the others are computed
        self._asked = self._waiting.popleft()
        return self._asked
