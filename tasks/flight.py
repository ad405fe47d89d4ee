"""Putting a batch in flight and taking it out again. Both are safe to repeat, from anywhere.

In: body (or a mark in its place) first, then the ledger's note, then the message. Out: the body goes, then the ledger
is told what the part holds.
"""

from __future__ import annotations

from collections.abc import Sequence

import kombu.exceptions
from celery import Celery

from pipelines.documents import Batch
from pipelines.errors import InfrastructureError
from pipelines.parts.layout import DATA
from pipelines.parts.plan import PlanEntry
from pipelines.parts.run_document import Transport
from pipelines.parts.sink import read_footer
from pipelines.parts.store import Store
from pipelines.planning import Planner
from pipelines.spec import KeptColumn
from tasks.app import send_batch
from tasks.deaths import forget_suspicion
from tasks.ledger import Ledger
from tasks.reference import BY_REFERENCE, is_sent_by_reference
from tasks.transport import Bodies, encode


class NotRunningError(InfrastructureError):
    """The run has ended in Redis, or Redis has forgotten it: nothing is put in flight."""


class Publisher:
    """Publishes the batches of one run.

    Raises InfrastructureError when Redis cannot be reached or refuses, NotRunningError where the run does not run
    there (any more): whoever leads it looks why.
    """

    def __init__(
        self,
        app: Celery,
        ledger: Ledger,
        bodies: Bodies,
        keep: Sequence[KeptColumn],
        transport: Transport = Transport.VALUE,
    ) -> None:
        self.app = app
        self.ledger = ledger
        self.bodies = bodies
        self.keep = keep
        self.transport = transport

    def publish(self, batch: Batch) -> None:
        """Put a batch in flight."""
        body = encode(batch, self.keep)
        self._put(batch.number, body)

    def publish_planned(self, planner: Planner, entry: PlanEntry) -> None:
        """Put a batch in flight that is in the plan; its documents are read again only if they are to travel."""
        if is_sent_by_reference(entry, self.transport, planner.spec.corpus):
            self._put(entry.batch, BY_REFERENCE)
        else:
            self.publish(planner.read(entry))

    def republish(self, batch: int) -> bool:
        """Send the message of a batch again; False where its body is gone and must be read from the corpus."""
        size = self.bodies.size(batch)
        if size == 0:
            return False
        self._announce(batch, size)
        return True

    def _put(self, batch: int, body: bytes) -> None:
        self.bodies.put(batch, body)
        try:
            self._announce(batch, len(body))
        except NotRunningError:
            self.bodies.drop(batch)  # nobody else would
            raise

    def _announce(self, batch: int, body_bytes: int) -> None:
        # The ledger first: a message that is lost in between is found missing by the next sweeps.
        if not self.ledger.publish(batch, body_bytes):
            raise NotRunningError(f"Run {self.ledger.run} does not run in this Redis now.")
        try:
            send_batch(self.app, self.ledger.run, batch)
        except kombu.exceptions.OperationalError as error:
            raise InfrastructureError(f"Redis did not take a message: {error}.") from error


def close_committed(store: Store, ledger: Ledger, bodies: Bodies, batch: int) -> None:
    """A batch's part is there, made by whomever: drop its body, then count it."""
    store.settle(DATA)  # who made it may have been killed, or stand, right before this
    footer = read_footer(store, batch)
    bodies.drop(batch)
    ledger.close(batch, documents=footer.count, rows=footer.rows, quarantined=footer.rejects, tokens=footer.tokens_used)
    forget_suspicion(store, ledger.run, batch)
