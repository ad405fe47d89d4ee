"""The reconciler: what is in flight, not committed, not leased and in no queue was lost, and is published again.

Celery on Redis may destroy a message whose consumer dies at the wrong moment, and keeps a dead worker's message hidden
for the visibility timeout. Because the window is small, a sweep can read the whole queue and know, not guess.
"""

from __future__ import annotations

import logging
import time

from pipelines.parts.dead_letter import dead_letter_reason
from pipelines.parts.sink import is_committed
from pipelines.parts.store import Store
from pipelines.planning import Planner
from tasks.client import redis_faults
from tasks.flight import Publisher, close_committed
from tasks.keys import QUEUE_LIST
from tasks.ledger import Ledger, OpenBatch
from tasks.queued import MOST_ENTRIES, Queue, Queued

logger = logging.getLogger(__name__)

LOST_AFTER_S = 5.0
"""A message seen in no queue by sweeps this far apart is lost; between pop and claim a live one is unseen for ms."""
HIDDEN_AFTER_S = 60.0
"""An unacknowledged message without a lease: its worker died before the claim, or still loads a model."""


class Reconciler:
    """Sweeps one run. Raises InfrastructureError when Redis or the storage fails: sweep again later."""

    def __init__(self, store: Store, planner: Planner, ledger: Ledger, publisher: Publisher) -> None:
        self.store = store
        self.planner = planner
        self.ledger = ledger
        self.publisher = publisher
        self.republished = 0
        self._missing_since: dict[int, float] = {}
        self._queue = Queue(ledger.client, ledger.run)
        self._too_long = False

    def sweep(self) -> None:
        """Close what is committed, publish again what is due, expired or lost."""
        self.dead()
        now, in_flight = self.ledger.sweep()
        messages = self._queue.look()
        self._say_if_too_long(messages)
        missing: dict[int, float] = {}
        totals = self.planner.plan.totals()
        for entry in in_flight:
            if totals is not None and entry.batch >= totals.batches:
                self.ledger.strike(entry.batch)
                continue
            if entry.lease_expiry > now:
                continue
            if is_committed(self.store, entry.batch):
                close_committed(self.store, self.ledger, self.publisher.bodies, entry.batch)
            elif entry.batch in messages.waiting:
                continue
            elif self._wants_message(entry, now, messages, missing):
                self._republish(entry.batch)
        self._missing_since = missing

    def dead(self) -> dict[int, str]:
        """Dead letters, by the notes in the folder. Of what Redis says without one, it is told that it is none."""
        found = {}
        for batch in self.ledger.dead():
            reason = dead_letter_reason(self.store, self.ledger.run, batch)
            if reason is None:
                logger.warning("Redis has batch %d as a dead letter, the folder has not: it is none.", batch)
                self.ledger.exhume(batch)
            else:
                found[batch] = reason
        return found

    def _wants_message(self, entry: OpenBatch, now: float, messages: Queued, missing: dict[int, float]) -> bool:
        if entry.due:
            return True
        if entry.published < entry.lease_expiry:  # expired: its worker is dead or hangs, and the message stays hidden
            return True
        if entry.batch in messages.hidden:
            return now - entry.published > HIDDEN_AFTER_S
        if not messages.complete:
            return False  # it may wait behind what was read
        since = self._missing_since.get(entry.batch, time.monotonic())
        missing[entry.batch] = since
        if time.monotonic() - since >= LOST_AFTER_S:
            del missing[entry.batch]
            return True
        return False

    def _say_if_too_long(self, messages: Queued) -> None:
        if self._too_long is messages.complete:
            self._too_long = not messages.complete
            if self._too_long:
                what = f"The queue has more than {MOST_ENTRIES:,} messages, most of them of others"
                logger.warning("%s: what is lost is sent again when it is shorter.", what)

    def _republish(self, batch: int) -> None:
        if not self.publisher.republish(batch):
            try:
                planned = self.planner.plan.entry(batch)
            except KeyError:
                return  # not in the plan, or not yet to be seen; once it is sealed, the sweep can tell
            self.publisher.publish_planned(self.planner, planned)
        with redis_faults():
            # What was begun goes on next, else it waits behind the whole window. Sent a moment ago, it is the newest
            # message; where another came in between, that one is moved, and nothing is lost by it.
            self.ledger.client.lmove(QUEUE_LIST, QUEUE_LIST, "LEFT", "RIGHT")
        self.republished += 1
