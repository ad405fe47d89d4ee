"""The feeder: corpus → plan → window → body → message, as far as the window allows.

The stored plan comes before any message, so whatever Redis or this process forgets is found again from the plan.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from pipelines.batching import item_text_bytes
from pipelines.documents import Batch
from pipelines.errors import InfrastructureError
from pipelines.forecast import Forecast
from pipelines.parts.plan import PlanEntry
from pipelines.parts.run_document import Transport
from pipelines.parts.sink import is_committed
from pipelines.planning import Planner
from tasks.client import memory_use
from tasks.flight import Publisher
from tasks.ledger import Ledger

MEMORY_CHECK_INTERVAL_S = 1.0
MAX_SEGMENT_BATCHES = 64
MAX_STEP_S = 0.5
"""A step over a long finished plan, or a long scan, ends after this, so that its leader can keep its lease."""
STEPS_PER_WINDOW = 4
"""A step publishes no more text than this part of the window's bytes (one batch at least), then looks anew."""


@dataclass(frozen=True, slots=True)
class Window:
    """How much may be in flight: batches, bytes of bodies, and the fraction of Redis' ``maxmemory`` in use.

    Feeding stops at a limit and goes on below half of it, so that it does not stutter at the edge.
    """

    batches: int = 64
    body_bytes: int = 256 * 2**20
    memory_fraction: float = 0.6


class Step(Enum):
    """What one step of the feeder came to."""

    PUBLISHED = auto()
    BLOCKED = auto()
    DONE = auto()


class Feeder:
    """Feeds one run, a step at a time; whoever leads the run calls :meth:`step` until DONE.

    First the backlog (planned, without a part, not in flight), then what is not planned yet, unless ``plan`` is False.
    ``documents_planned`` is how far into the corpus this feeder has planned, ``forecast`` how much work that is;
    ``redis_is_full`` tells that memory, not the window, is what blocks it.
    """

    def __init__(self, planner: Planner, ledger: Ledger, publisher: Publisher, window: Window, *, plan: bool) -> None:
        self.planner = planner
        self.ledger = ledger
        self.publisher = publisher
        self.window = window
        self.plans = plan
        self.documents_planned = 0
        self.forecast = Forecast(planner.spec.corpus, planner.spec.max_tokens)
        self._full = False
        self._memory_checked = 0.0
        self.redis_is_full = False
        self.restart()

    def restart(self) -> None:
        """Start over from the plan: Redis forgot, or another feeder was faster."""
        self._backlog: Iterator[PlanEntry] | None = self.planner.plan.entries()
        self._fresh: Iterator[Batch | PlanEntry] | None = None
        self._done = False

    def step(self) -> Step:
        """Publish as much as one segment of the plan, where the window is open.

        Raises InfrastructureError when Redis or the storage fails (call again later), RunError when the run must end.
        """
        if self._done:
            return Step.DONE
        room = self._room()
        if room == 0:
            return Step.BLOCKED
        try:
            if self._backlog is not None:
                return self._step_backlog(self._backlog, room)
            if not self.plans or self.planner.plan.totals() is not None:
                self._done = True
                return Step.DONE
            return self._step_fresh(room)
        except InfrastructureError:
            # What was taken from the corpus or the backlog and not published is found again from the plan.
            self.restart()
            raise

    def _step_backlog(self, backlog: Iterator[PlanEntry], room: int) -> Step:
        _, in_flight = self.ledger.sweep()
        flying = {entry.batch for entry in in_flight}
        dead = self.ledger.dead()
        enough, text_bytes = self.window.body_bytes // STEPS_PER_WINDOW, 0
        deadline = time.monotonic() + MAX_STEP_S
        for entry in backlog:
            self.documents_planned = entry.first + entry.count
            done = is_committed(self.planner.store, entry.batch)
            self.forecast.add(entry, done=done or entry.batch in dead)
            if done or entry.batch in flying or entry.batch in dead:
                if time.monotonic() > deadline:
                    return Step.PUBLISHED
                continue
            self.publisher.publish_planned(self.planner, entry)
            room -= 1
            text_bytes += entry.text_bytes
            if room == 0 or text_bytes >= enough:
                return Step.PUBLISHED
        self._backlog = None
        return Step.PUBLISHED

    def _step_fresh(self, room: int) -> Step:
        if self._fresh is None:
            by_reference = self.publisher.transport is Transport.REFERENCE
            self._fresh = self.planner.ranges() if by_reference else self.planner.fresh()
        segment: list[Batch | PlanEntry] = []
        enough, text_bytes = self.window.body_bytes // STEPS_PER_WINDOW, 0
        deadline = time.monotonic() + MAX_STEP_S
        for batch in self._fresh:
            segment.append(batch)
            if isinstance(batch, Batch):
                text_bytes += sum(item_text_bytes(item) for item in batch.items)
            elif time.monotonic() > deadline:
                break
            if len(segment) >= min(room, MAX_SEGMENT_BATCHES) or text_bytes >= enough:
                break
        else:
            # The corpus is at its end: record what is left, then close the plan.
            if self._record(segment):
                self.planner.seal()
                self._done = True
            return Step.PUBLISHED
        self._record(segment)
        return Step.PUBLISHED

    def _record(self, segment: list[Batch | PlanEntry]) -> bool:
        if segment and not self.planner.record(segment):
            self.restart()
            return False
        for batch in segment:
            self.forecast.add(batch)
            if isinstance(batch, Batch):
                self.publisher.publish(batch)
                self.documents_planned = batch.first + len(batch.items)
            else:
                self.publisher.publish_planned(self.planner, batch)
                self.documents_planned = batch.first + batch.count
        return True

    def _room(self) -> int:
        """How many batches may be published now."""
        batches, body_bytes = self.ledger.window()
        if self._full and (batches > self.window.batches // 2 or body_bytes > self.window.body_bytes // 2):
            return 0
        self._full = batches >= self.window.batches or body_bytes >= self.window.body_bytes
        if self._full or self._memory_is_full():
            return 0
        return self.window.batches - batches

    def _memory_is_full(self) -> bool:
        now = time.monotonic()
        if now - self._memory_checked >= MEMORY_CHECK_INTERVAL_S:
            self._memory_checked = now
            memory = memory_use(self.ledger.client)
            fraction = self.window.memory_fraction * (0.9 if self.redis_is_full else 1.0)
            self.redis_is_full = memory.limit > 0 and memory.used > fraction * memory.limit
        return self.redis_is_full
