"""A command that leads a run: Redis, workers and leader together, until the run is fed or sealed."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Iterator
from types import FrameType
from typing import Protocol

from pipelines.errors import CancelledError, InfrastructureError, RunError, SurroundingsError
from pipelines.forecast import Work
from pipelines.parts.cancellation import take_back_cancellation
from pipelines.parts.dead_letter import forget_dead_letters
from pipelines.parts.limit import Limit
from pipelines.parts.run_document import RunDocument
from pipelines.parts.store import Store
from pipelines.parts.summary import Summary
from pipelines.proof.process import ProofOptions
from tasks.client import connect as connect_client
from tasks.client import memory_use
from tasks.feed import Window
from tasks.lead import Lead, Leader, LostLeadError
from tasks.ledger import Counts
from tasks.runs import locked
from worker import address, broker
from worker.app import connect
from worker.gpu import Slot
from worker.settings import Settings
from worker.supervisor import Supervisor

logger = logging.getLogger(__name__)

POLL_S = 0.05
COUNTS_INTERVAL_S = 0.5
ONE_SIGNAL_S = 0.3
"""Within it a signal is the first one again: `timeout` and process managers tell the process, and its group, too."""
GIVE_UP_AFTER_S = 300.0
"""How long Redis or the storage may be away before the command ends; the run can be resumed."""


class InterruptionError(CancelledError):
    """A signal told the command to end; where others only lose a run, this ends the process."""


class Observer(Protocol):
    """Sees how a run gets on; the progress bar is one."""

    def update(self, counts: Counts, planned: int, total: int | None, work: Work | None = None) -> None:
        """``planned`` documents are in the plan; ``total`` is their final number once it is known.

        ``work`` is how much this command has done and has to do, where that can be told.
        """
        ...


def lead_run(
    settings: Settings,
    store: Store,
    document: RunDocument,
    *,
    command: str,
    slots: list[Slot],
    limit: Limit,
    until_sealed: bool,
    observer: Observer,
) -> Summary | None:
    """Feed, reconcile and seal a run, with workers on the slots (none: others work), holding the folder's lock.

    Returns the summary of the sealed (or incomplete) run; None where it was only to be fed.

    Without a broker in the settings, one of its own lives as long as this call. Raises CancelledError when
    interrupted or cancelled, and what ends the run otherwise.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(signals_raise(f"`penstock resume {store.root}` goes on."))
        embedded: broker.EmbeddedRedis | None = None
        if settings.broker_url is None:
            embedded = stack.enter_context(broker.EmbeddedRedis(settings.embedded_redis_bytes))
            settings = settings.model_copy(update={"broker_url": embedded.url})
        assert settings.broker_url is not None
        address.check(settings.broker_url)
        stack.enter_context(locked(store, command=command, broker_url=settings.broker_url))
        client = connect_client(address.client_url(settings.broker_url), settings.redis_timeout_s)
        stack.callback(client.close)
        app = connect(settings)
        stack.callback(app.close)
        leader = Leader(
            app,
            client,
            store,
            document,
            window_of(settings, len(slots)),
            owner=f"{socket.gethostname()}:{os.getpid()}",
            plan=True,
            proof=proof_of(settings),
        )
        leader.take(by_force=True)
        take_back_cancellation(store, document.run)
        forget_dead_letters(store, document.run)
        leader.ledger.open(str(store.root))
        stack.callback(leader.resign)
        stack.enter_context(_cleaned_up(leader))  # after the workers have handed back what they had
        supervisor = stack.enter_context(Supervisor(settings, slots, client))
        try:
            return _drive(leader, supervisor, embedded, limit, observer, until_sealed=until_sealed)
        except CancelledError as error:
            if isinstance(error, InterruptionError):
                logger.warning(
                    "Ending: the micro-batches at hand are finished first; a second Ctrl-C ends all at once."
                )
            with contextlib.suppress(InfrastructureError):
                leader.ledger.set_state("cancelled")
            raise


@contextlib.contextmanager
def _cleaned_up(leader: Leader) -> Iterator[None]:
    """Of a run that ends without a seal Redis keeps the state, and why; `resume` finds the rest in the folder."""
    try:
        yield
    except LostLeadError:
        raise
    except RunError as error:
        with contextlib.suppress(InfrastructureError):
            found = leader.ledger.state()
            ended = "cancelled" if isinstance(error, CancelledError) else "failed"
            state = found.state if found.state not in ("running", "unknown") else ended
            leader.ledger.forget(state, found.message or str(error))
        raise


def _drive(
    leader: Leader,
    supervisor: Supervisor,
    embedded: broker.EmbeddedRedis | None,
    limit: Limit,
    observer: Observer,
    *,
    until_sealed: bool,
) -> Summary | None:
    """Step the leader and tick the supervisor until the run is sealed (or fed)."""
    fault_since: float | None = None
    counted = 0.0
    while True:
        if embedded is not None and not embedded.alive:
            logger.warning("The embedded Redis died; it is started anew and filled from the plan.")
            embedded.start()
        try:
            lead = leader.step()
            if lead is Lead.COMPLETE:
                summary = leader.seal(limit, {"redis_peak_bytes": memory_use(leader.client).peak})
                if summary is not None:
                    return summary
            if lead is Lead.FED and not until_sealed:
                return None
            if time.monotonic() - counted >= COUNTS_INTERVAL_S:
                counted = time.monotonic()
                totals = leader.planner.plan.totals()
                counts, feeder = leader.ledger.state(), leader.feeder
                work = feeder.forecast.work(counts.documents, complete=totals is not None)
                observer.update(counts, feeder.documents_planned, totals.documents if totals else None, work)
            fault_since = None
        except InfrastructureError as error:
            lead = Lead.WAITING
            if fault_since is None:
                logger.warning("%s Trying on.", error)
                fault_since = time.monotonic()
            if time.monotonic() - fault_since > GIVE_UP_AFTER_S:
                raise SurroundingsError(
                    f"{error} That has been so for {GIVE_UP_AFTER_S:.0f} s.", "Mend it, then `penstock resume` goes on."
                ) from error
            time.sleep(0.5)
        supervisor.tick()
        if lead is not Lead.WORKING:
            time.sleep(POLL_S)


def window_of(settings: Settings, slots: int) -> Window:
    """How much may be in flight for so many slots."""
    return Window(settings.window_batches(slots), settings.window_bytes, settings.redis_maxmemory_fraction)


def proof_of(settings: Settings) -> ProofOptions:
    """How the runs that this process leads are proved."""
    return ProofOptions(settings.proof_documents, settings.proof_timeout_s)


@contextlib.contextmanager
def signals_raise(advice: str = "") -> Iterator[None]:
    """SIGINT and SIGTERM end the command in order; a second one at once (the children die with it).

    Raises InterruptionError with the advice, wherever the main thread is.
    """
    first: float | None = None

    def interrupt(number: int, _: FrameType | None) -> None:
        nonlocal first
        if first is not None:
            if time.monotonic() - first < ONE_SIGNAL_S:
                return
            os._exit(128 + signal.SIGINT)
        first = time.monotonic()
        raise InterruptionError(f"Interrupted by {signal.Signals(number).name}; what is committed stays.", advice)

    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
