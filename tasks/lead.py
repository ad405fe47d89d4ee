"""Leading a run: one process feeds, reconciles and seals it, under a lease that another can take over.

``penstock run`` and ``submit`` lead the run they opened; a worker's supervisor leads runs that nobody leads.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from enum import Enum, auto
from threading import Event

import redis
from celery import Celery

from pipelines.errors import CancelledError, InfrastructureError, RunError, SurroundingsError, UnfaithfulError
from pipelines.parts.cancellation import is_cancelled
from pipelines.parts.limit import Limit
from pipelines.parts.manifest import MissingPartsError, seal, sealed_head
from pipelines.parts.proof_record import Proof
from pipelines.parts.run_document import RunDocument, identity
from pipelines.parts.store import Store
from pipelines.parts.summary import Summary
from pipelines.planning import Planner
from pipelines.proof.process import NO_PROOF, ProofOptions, Prover
from tasks.client import memory_use, redis_faults
from tasks.feed import Feeder, Step, Window
from tasks.fleet import live_workers
from tasks.flight import NotRunningError, Publisher
from tasks.keys import run_key
from tasks.ledger import Ledger
from tasks.reconcile import Reconciler
from tasks.transport import Bodies

logger = logging.getLogger(__name__)

LEADER_LEASE_S = 15
SWEEP_INTERVAL_S = 2.0
SEAL_PATIENCE_S = 0.5
FULL_PATIENCE_S = 30.0

# Looked and acted in one step: between two, a command could take the lead by force, and lose it again to who had it.
_KEEP = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] or not holder and ARGV[3] == '0' then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
"""
_GIVE_BACK = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0"


class LostLeadError(RunError):
    """Another process leads this run now."""


def is_led(client: redis.Redis, run: str) -> bool:
    """Whether somebody leads a run now, or has died while it did and has its lease yet."""
    with redis_faults():
        return bool(client.exists(run_key(run, "leader")))


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
        proof: ProofOptions = NO_PROOF,
    ) -> None:
        self.client = client
        self.store = store
        self.document = document
        self.owner = owner
        self.ledger = Ledger(client, document.run)
        self._identity = identity(store)
        self.planner = Planner(store, document.spec)
        bodies = Bodies(client, document.run)
        publisher = Publisher(app, self.ledger, bodies, document.spec.corpus.keep, document.transport)
        self.feeder = Feeder(self.planner, self.ledger, publisher, window, plan=plan)
        self.reconciler = Reconciler(store, self.planner, self.ledger, publisher)
        self._swept = 0.0
        self._sealing: Future[Summary] | None = None
        self._prover = Prover(store, document, proof)
        self._sealer = ThreadPoolExecutor(1, thread_name_prefix="seal")
        self._resigned = Event()
        self._full_since: float | None = None
        self._by_force, self._kept = False, time.monotonic()
        self._key = run_key(document.run, "leader")
        self._keep, self._give_back = client.register_script(_KEEP), client.register_script(_GIVE_BACK)

    def take(self, *, by_force: bool) -> bool:
        """Take the lease: ``by_force`` for a command that holds the folder's lock, else only where nobody has it."""
        self._by_force, self._kept = by_force, time.monotonic()
        with redis_faults():
            return bool(self.client.set(self._key, self.owner, ex=LEADER_LEASE_S, nx=not by_force))

    def resign(self) -> None:
        """Give the lease back, as far as Redis can be reached; a seal under way ends at its next part."""
        self._resigned.set()
        self._prover.close()
        self._sealer.shutdown()
        self.planner.close()
        try:
            with redis_faults():
                self._give_back(keys=[self._key], args=[self.owner])
        except InfrastructureError:
            pass  # it expires by itself

    def step(self) -> Lead:
        """Feed a little, sweep when it is time.

        Raises InfrastructureError when Redis or the storage fails (call again), CancelledError and RunError when the
        run is over.
        """
        self._check_folder()
        try:
            if time.monotonic() - self._swept >= SWEEP_INTERVAL_S:
                self._sweep()
            step = self.feeder.step()
        except NotRunningError:
            self._swept = -SWEEP_INTERVAL_S  # the next step looks why
            return Lead.WAITING
        if step is Step.PUBLISHED:
            return Lead.WORKING
        in_flight = self.ledger.window()[0]
        self._watch_memory(in_flight)
        if step is Step.BLOCKED:
            return Lead.WAITING
        if in_flight > 0:
            return Lead.FED
        return Lead.COMPLETE if self.planner.plan.totals() is not None else Lead.FED

    def _sweep(self) -> None:
        self._end_if_cancelled()  # before the lease: a Redis that has forgotten a cancelled run holds nothing of it
        self._keep_lease()
        self._check_state()
        self.reconciler.sweep()
        with self._failing_if_unfaithful():
            self._prover.look(self.planner.plan)
        self._swept = time.monotonic()

    def seal(self, limit: Limit, statistics: Mapping[str, int] | None = None) -> Summary | None:
        """Prove and seal the complete run; None while that takes longer than a moment (step on, then call again), and
        where parts are missing after all, which are then published again.

        ``statistics`` are measurements for the manifest that cannot be computed again. A run that is sealed already
        stays as it is, whatever the limit.
        """
        if self._sealing is None:
            proof = None
            if sealed_head(self.store, self.document) is None:
                with self._failing_if_unfaithful():
                    proof = self._prover.result(self.planner.plan)
                if proof is None:
                    return None
            dead = self.reconciler.dead()
            self._sealing = self._sealer.submit(self._seal, limit, dead, statistics, proof)
        try:
            summary = self._sealing.result(timeout=SEAL_PATIENCE_S)
        except TimeoutError:
            return None  # the caller keeps the lease, and its workers, in the meantime
        except MissingPartsError:
            self._sealing = None
            self.feeder.restart()
            return None
        except BaseException:
            self._sealing = None
            raise
        self._sealing = None
        self.ledger.forget(summary.state)
        return summary

    def _seal(
        self, limit: Limit, dead: Mapping[int, str], statistics: Mapping[str, int] | None, proof: Proof | None
    ) -> Summary:
        if (there := sealed_head(self.store, self.document)) is not None:
            return there.summary
        return seal(
            self.store,
            self.document,
            max_quarantined=limit,
            dead=dead,
            statistics=statistics,
            proof=proof,
            between=self._end_if_resigned,
        )

    @contextlib.contextmanager
    def _failing_if_unfaithful(self) -> Iterator[None]:
        """A run that does not hold what the model gives has failed, whoever leads it next."""
        try:
            yield
        except UnfaithfulError as error:
            self.ledger.set_state("failed", str(error))
            raise

    def _end_if_resigned(self) -> None:
        if self._resigned.is_set():
            raise CancelledError("The seal was interrupted.", f"`penstock resume {self.store.root}` goes on.")

    def _watch_memory(self, in_flight: int) -> None:
        """Say that Redis is too full to publish anything; end where nothing of ours could ever empty it."""
        if not self.feeder.redis_is_full:
            self._full_since = None
            return
        memory = memory_use(self.client)
        what = f"Redis uses {memory.used:,} of its {memory.limit:,} bytes, too much to publish more."
        if self._full_since is None:
            self._full_since = time.monotonic()
            logger.warning("%s", what)
            self.ledger.remark(what)
        if in_flight == 0 and time.monotonic() - self._full_since > FULL_PATIENCE_S:
            raise SurroundingsError(what, "Nothing of this run is in it: raise maxmemory, or remove what fills it.")

    def _keep_lease(self) -> None:
        """Prolong the lease. Where it ran out, only who holds the folder's lock takes it back.

        Another may have led since, by force, and be late as well.
        """
        now = time.monotonic()
        may_take = self._by_force or now - self._kept < LEADER_LEASE_S
        with redis_faults():
            kept = self._keep(keys=[self._key], args=[self.owner, LEADER_LEASE_S, int(may_take)])
        if not kept:
            raise LostLeadError("Another process took over the lead of this run.", "This one leaves it to that.")
        self._kept = now

    def _check_folder(self) -> None:
        """Whoever removed the folder wants the run no more, and what comes there next is not this run's."""
        if identity(self.store) != self._identity:
            message = f"{self.store.root} was removed or replaced: it does not hold run {self.document.run} any more."
            if self.ledger.state().state == "running":
                self.ledger.set_state("failed", message)
            raise SurroundingsError(message, "Begin anew, or put the folder back and `penstock resume` it.")

    def _end_if_cancelled(self) -> None:
        state = self.ledger.state().state
        cancelled = is_cancelled(self.store, self.document.run)
        if cancelled and state in ("running", "unknown"):
            self.ledger.set_state("cancelled")  # Redis was told, and has forgotten it since
        if cancelled or state == "cancelled":
            raise CancelledError(
                "The run was cancelled; what is committed stays.", f"`penstock resume {self.store.root}` goes on."
            )

    def _check_state(self) -> None:
        state = self.ledger.state()
        if state.state in ("failed", "paused"):
            raise RunError(state.message or "The run failed.")
        if state.state == "unknown" or not self.ledger.known():
            # Redis was emptied: make the run known again and publish from the plan; unless it was cancelled before.
            self._end_if_cancelled()
            self.ledger.open(str(self.store.root))
            self.feeder.restart()
            return
        refusals, workers = self.ledger.refusals(), live_workers(self.client)
        if workers and all(worker.owner in refusals for worker in workers):
            message = next(iter(refusals.values()))
            self.ledger.set_state("failed", message)
            raise RunError(message)
