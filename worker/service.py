"""A worker command without a run of its own: pinned processes, and the lead of runs that nobody leads."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from pathlib import Path

import redis
from celery import Celery

from pipelines.errors import InfrastructureError, InputError, RunError
from pipelines.parts.cancellation import is_cancelled
from pipelines.parts.layout import SUCCESS
from pipelines.parts.limit import Limit
from pipelines.proof.process import NO_PROOF, ProofOptions
from tasks.client import connect as connect_client
from tasks.client import redis_faults
from tasks.feed import Window
from tasks.lead import Lead, Leader, LostLeadError
from tasks.ledger import Ledger, known_runs
from tasks.runs import is_locked, load_run
from worker import address
from worker.app import connect
from worker.gpu import Slot
from worker.session import InterruptionError, proof_of, signals_raise, window_of
from worker.settings import Settings
from worker.supervisor import Supervisor

logger = logging.getLogger(__name__)

POLL_S = 0.2
LEFT_ALONE_S = 60.0
"""How long a run is left to others after this process could not lead it (its corpus is not visible here, say)."""


def serve_workers(settings: Settings, slots: list[Slot]) -> None:
    """Run workers until interrupted, and reconcile and seal the runs of this Redis that have no live leader.

    Returns when told to end. Raises SurroundingsError where Redis is away at the start or a process will not start.
    """
    assert settings.broker_url is not None
    with contextlib.suppress(InterruptionError), contextlib.ExitStack() as stack:
        stack.enter_context(signals_raise())
        address.check(settings.broker_url)
        client = connect_client(address.client_url(settings.broker_url), settings.redis_timeout_s)
        stack.callback(client.close)
        app = connect(settings)
        stack.callback(app.close)
        supervisor = stack.enter_context(Supervisor(settings, slots, client))
        where = address.describe(settings.broker_url)
        logger.info("%s: listening to %s; Ctrl-C ends it.", ", ".join(slot.name for slot in slots), where)
        stewardship = _Stewardship(app, client, window_of(settings, len(slots)), proof_of(settings))
        stack.callback(stewardship.resign)
        looked, away = 0.0, False
        while True:
            supervisor.tick()
            due = time.monotonic() - looked >= settings.reconcile_interval_s
            try:
                if due:
                    looked = time.monotonic()
                    stewardship.look()
                stewardship.step()
                away = away and not due  # without a look, nothing may have been asked
            except InfrastructureError as error:
                if not away:
                    logger.warning("%s Trying on.", error)
                away = True
                time.sleep(1.0)
            time.sleep(POLL_S)


class _Stewardship:
    """The runs that this process leads on the side: it reconciles and seals them, but plans nothing new."""

    def __init__(self, app: Celery, client: redis.Redis, window: Window, proof: ProofOptions = NO_PROOF) -> None:
        self.app = app
        self.client = client
        self.window = window
        self.proof = proof
        self.owner = f"{socket.gethostname()}:{os.getpid()}"
        self._leaders: dict[str, Leader] = {}
        self._left: dict[str, float] = {}
        self._failing: set[str] = set()

    def look(self) -> None:
        """Take the lead of known runs whose leader's lease has run out and whose folder is visible here."""
        for run, folder in known_runs(self.client).items():
            if run in self._leaders or time.monotonic() - self._left.get(run, -LEFT_ALONE_S) < LEFT_ALONE_S:
                continue
            try:
                store, document = load_run(Path(folder))
                cancelled = is_cancelled(store, run)
                led = document.run != run or is_locked(store)
                sealed = store.exists(SUCCESS)
            except InterruptionError:
                raise
            except (RunError, InfrastructureError):
                continue  # another machine may see it, or this one again
            if led:
                continue  # by a live command
            if sealed:
                Ledger(self.client, run).forget("sealed")  # by a command that used another Redis
                continue
            ledger = Ledger(self.client, run)
            if ledger.state().state not in ("running", "unknown"):
                continue  # what was cancelled, failed or is incomplete waits for `resume`
            if cancelled:
                ledger.forget("cancelled")  # Redis was told, and has forgotten it since
                continue
            try:
                leader = Leader(
                    self.app, self.client, store, document, self.window, owner=self.owner, plan=False, proof=self.proof
                )
            except (RunError, InfrastructureError):
                continue  # its folder went just now
            if leader.take(by_force=False):
                logger.info("Nobody leads run %s in %s: this supervisor does.", run, folder)
                self._leaders[run] = leader

    def step(self) -> None:
        """One step of each; a run that is over, or that somebody else leads now, is left.

        Raises InfrastructureError where Redis is away. A folder that fails is that run's trouble alone: it is tried
        again, and the others go on.
        """
        for run, leader in list(self._leaders.items()):
            try:
                done = leader.step() is Lead.COMPLETE
                self._failing.discard(run)
                if not done:
                    continue
                summary = leader.seal(Limit.parse(leader.document.max_quarantined))
                if summary is None:
                    continue
                logger.info("Run %s is %s: %s", run, summary.state, leader.store.root)
            except InterruptionError:
                raise
            except InfrastructureError as error:
                with redis_faults():
                    self.client.ping()
                if run not in self._failing:
                    logger.warning("Run %s: %s Trying on.", run, error)
                self._failing.add(run)
                continue
            except LostLeadError:
                logger.info("Run %s is led by another process now.", run)
            except RunError as error:  # cancelled or failed, or others must act
                logger.warning("Run %s is left alone: %s", run, error)
                found = leader.ledger.state()
                if found.state == "running":
                    hint = "`penstock resume` where the corpus can be seen goes on."
                    leader.ledger.remark(f"{error.message} {hint}" if isinstance(error, InputError) else str(error))
                elif found.state != "unknown":
                    leader.ledger.forget(found.state, found.message)  # `resume` finds the rest in the folder
                self._left[run] = time.monotonic()
            except Exception as error:  # a bug, and that of one run alone: the others go on
                logger.exception("Run %s is left alone: %s: %s: this is a bug.", run, type(error).__name__, error)
                self._left[run] = time.monotonic()
            leader.resign()
            del self._leaders[run]
            self._failing.discard(run)

    def resign(self) -> None:
        """Give every lead back."""
        for leader in self._leaders.values():
            leader.resign()
