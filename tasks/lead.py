"""Leading a run: one process feeds, reconciles and seals it, under a lease that another can take over.

``penstock run`` and ``submit`` lead the run they opened; a worker's supervisor leads runs that nobody leads.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from enum import Enum, auto

import redis
from celery import Celery

from pipelines.errors import CancelledError, InfrastructureError, RunError
from pipelines.parts.limit import Limit
from pipelines.parts.manifest import MissingPartsError, seal
from pipelines.parts.run_document import RunDocument
from pipelines.parts.store import Store
from pipelines.parts.summary import Summary
from pipelines.planning import Planner
from tasks.client import redis_faults
from tasks.feed import Feeder, Step, Window
from tasks.flight import Publisher
from tasks.keys import run_key
from tasks.ledger import Ledger, live_workers
from tasks.reconcile import Reconciler
from tasks.transport import Bodies

LEADER_LEASE_S = 15
SWEEP_INTERVAL_S = 2.0


class Lead(Enum):
    """What one step of leading came to."""

    WORKING = auto()  # something was published: call again at once
    WAITING = auto()  # nothing to do for now
    FED = auto()  # all is planned and published, not all is committed
    COMPLETE = auto()  # all is committed or dead: seal


class Leader:
    """Leads one run. The owner's name fences it: who lost the lease stops."""

    def __init__(
        self,
        app: Celery,
        client: redis.Redis,
        store: Store,
        document: RunDocument,
        window: Window,
        *,
        owner: str,
        plan: bool,
    ) -> None:
        self.client = client
        self.store = store
        self.document = document
        self.owner = owner
        self.ledger = Ledger(client, document.run)
        self.planner = Planner(store, document.spec)
        bodies = Bodies(client, document.run)
        publisher = Publisher(app, self.ledger, bodies, document.spec.corpus.keep)
        self.feeder = Feeder(self.planner, self.ledger, publisher, window, plan=plan)
        self.reconciler = Reconciler(store, self.planner, self.ledger, publisher)
        self._swept = 0.0
        self._key = run_key(document.run, "leader")

    def take(self, *, by_force: bool) -> bool:
        """Take the lease: ``by_force`` for a command that holds the folder's lock, else only where nobody has it."""
        with redis_faults():
            return bool(self.client.set(self._key, self.owner, ex=LEADER_LEASE_S, nx=not by_force))

    def resign(self) -> None:
        """Give the lease back, as far as Redis can be reached."""
        self.planner.close()
        try:
            with redis_faults():
                if self.client.get(self._key) == self.owner.encode():
                    self.client.delete(self._key)
        except InfrastructureError:
            pass  # it expires by itself

    def step(self) -> Lead:
        """Feed a little, sweep when it is time.

        Raises InfrastructureError when Redis or the storage fails (call again), CancelledError and RunError when the
        run is over.
        """
        if time.monotonic() - self._swept >= SWEEP_INTERVAL_S:
            self._keep_lease()
            self._check_state()
            self.reconciler.sweep()
            self._swept = time.monotonic()
        step = self.feeder.step()
        if step is Step.PUBLISHED:
            return Lead.WORKING
        if step is Step.BLOCKED:
            return Lead.WAITING
        if self.ledger.window()[0] > 0:
            return Lead.FED
        return Lead.COMPLETE if self.planner.plan.totals() is not None else Lead.FED

    def seal(self, limit: Limit, statistics: Mapping[str, int] | None = None) -> Summary | None:
        """Seal the complete run; None where parts are missing after all, which are then published again.

        ``statistics`` are measurements for the manifest that cannot be computed again.
        """
        try:
            summary = seal(
                self.store,
                self.document,
                max_quarantined=limit,
                dead=self.ledger.dead(),
                statistics=statistics,
            )
        except MissingPartsError:
            self.feeder.restart()
            return None
        if summary.state == "sealed":
            self.ledger.forget("sealed")
        else:
            self.ledger.set_state(summary.state)
        return summary

    def _keep_lease(self) -> None:
        with redis_faults():
            holder = self.client.get(self._key)
            if holder is not None and holder != self.owner.encode():
                raise RunError("Another process took over the lead of this run.", "This one leaves it to that.")
            self.client.set(self._key, self.owner, ex=LEADER_LEASE_S)

    def _check_state(self) -> None:
        if not self.ledger.known():
            # Redis was emptied: make the run known again and publish from the plan.
            self.ledger.open(str(self.store.root))
            self.feeder.restart()
            return
        state = self.ledger.state()
        if state.state == "cancelled":
            raise CancelledError(
                "The run was cancelled; what is committed stays.", f"`penstock resume {self.store.root}` goes on."
            )
        if state.state in ("failed", "paused"):
            raise RunError(state.message or "The run failed.")
        refusals, workers = self.ledger.refusals(), live_workers(self.client)
        if workers and all(worker.owner in refusals for worker in workers):
            message = next(iter(refusals.values()))
            self.ledger.set_state("failed", message)
            raise RunError(message)
