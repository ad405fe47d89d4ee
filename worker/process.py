"""A worker child's life: check the pin, load, hold the resources of its tasks, and leave when its device is lost.

Runs in a fresh interpreter that billiard spawned. Celery's parent imports this file too, so torch is imported only in
the handler, and the app is read from ``current_app``: the child's is an unpickled copy.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

import redis
from billiard.exceptions import WorkerLostError
from celery import current_app
from celery.signals import setup_logging, task_failure, worker_process_init, worker_process_shutdown

from pipelines.documents import Reason
from pipelines.errors import InfrastructureError, InputError, ProcessError, RunError, SurroundingsError
from pipelines.parts.run_document import RunDocument, identity, load
from pipelines.parts.sink import is_committed
from pipelines.parts.store import Store
from pipelines.spec import RunSpec
from tasks.client import connect, redis_faults
from tasks.deaths import Deaths
from tasks.keys import RUNS
from tasks.ledger import Ledger, known_runs
from tasks.loading import loading
from tasks.write_behind import WriteBehind
from worker import address, logs
from worker.breadcrumb import Trail, clear, read
from worker.settings import Settings, slot_identity
from worker.settings import load as load_settings
from worker.slot_budgets import MemoryWatch, SlotBudgets

if TYPE_CHECKING:
    from pipelines.extract import Extractor

logger = logging.getLogger(__name__)
DEVICE_LOST_EXIT = 70

_before_claims: deque[bool] = deque(maxlen=3)
"""Of the last deaths of children of this (Celery's) process: whether they held nothing yet."""
_memory = MemoryWatch()
REMEMBERED_RUNS = 16
LEASE_LIMITS = 1.25
"""A lease outlasts the limit of a micro-batch by so much: a hang is then noticed, and noted, before it runs out."""

# Celery sets up a child's logging before the child's own signal fires: this must stand when the file is imported.
setup_logging.connect(logs.leave_logging_alone, weak=False)


class ProcessResources:
    """What the tasks of this child share: the ledger's client, and the loaded models, several by bytes."""

    def __init__(self, settings: Settings, fault: RunError | None = None) -> None:
        identity = slot_identity()
        self.settings = settings
        self._fault = fault
        self.owner = identity.owner
        self.slot = identity.slot
        self.device = identity.device
        self.max_attempts = settings.max_attempts
        self.client: redis.Redis = connect(address.client_url(settings.broker_url or ""), settings.redis_timeout_s)
        self._trail = Trail(Path(identity.breadcrumb), settings.hang_limit_s)
        self._budgets = SlotBudgets(Path(identity.breadcrumb))
        self._runs: OrderedDict[str, tuple[Store, RunDocument, tuple[int, int, int] | None]] = OrderedDict()
        self._runs_lock = threading.Lock()  # the thread that writes behind asks for them too
        self._extractors: OrderedDict[RunSpec, Extractor] = OrderedDict()
        self.write_behind = WriteBehind()
        self._trail.wait()  # this process has started

    @property
    def lease_s(self) -> float:
        """How long a claim or a renewal holds: longer where micro-batches take long, so that a hang is found first."""
        return max(self.settings.lease_s, LEASE_LIMITS * self._trail.longest_s())

    def run(self, run: str) -> tuple[Store, RunDocument]:
        """A run's store and document, read from its folder once while it is one of the last worked on.

        A folder that was removed, or belongs to another run since, is none of this run's any more.
        """
        with self._runs_lock:
            return self._run(run)

    def _run(self, run: str) -> tuple[Store, RunDocument]:
        known = self._runs.pop(run, None)
        if known is None or identity(known[0]) != known[2]:
            with redis_faults():
                folder = cast("bytes | None", self.client.hget(RUNS, run))
            if folder is None:
                raise InfrastructureError(f"Redis does not know run {run} (any more).")
            store = Store(Path(folder.decode()))
            seen = identity(store)
            document = load(store) if seen is not None else None
            if document is None:
                raise SurroundingsError(
                    f"{store.root} holds no run that this machine can see.",
                    "The dataset's folder must be visible to every worker under the same path.",
                )
            if document.run != run:
                raise InputError(f"{store.root} belongs to run {document.run}, not to {run}.")
            known = store, document, seen
        self._runs[run] = known
        if len(self._runs) > REMEMBERED_RUNS:
            self._runs.popitem(last=False)
        return known[:2]

    def extractor(self, document: RunDocument) -> Extractor:
        """The loaded extractor of a run, and of all that compute the same.

        The longest unused one goes when the weights exceed their share of memory.
        """
        if self._fault is not None:
            raise self._fault
        from pipelines.extract import Extractor

        key = document.spec.without_places()
        if key in self._extractors:
            self._extractors.move_to_end(key)
            return self._extractors[key]
        started = time.monotonic()
        with loading(self.client, document.run, self.owner):
            extractor = Extractor(
                document.spec,
                device="cpu" if self.device == "cpu" else "cuda",
                token_budget=self.settings.token_budget,
                budgets=self._budgets,
                once=self.settings.once,
            )
        logger.info("Model %s loaded in %.1f s.", document.spec.model.source, time.monotonic() - started)
        self._extractors[key] = extractor
        while len(self._extractors) > 1 and self._loaded_bytes() > self.settings.model_cache_bytes:
            self._extractors.popitem(last=False)
        return extractor

    def _loaded_bytes(self) -> int:
        return sum(extractor.nbytes for extractor in self._extractors.values())

    @contextlib.contextmanager
    def working(self, run: str, batch: int) -> Iterator[None]:
        """Every log record in here carries the run and the batch, and this process does not wait for a message."""
        self._trail.wake()
        try:
            with logs.bind(run=run, batch=batch):
                yield
        finally:
            self._trail.wait()

    @contextlib.contextmanager
    def taking(self, run: str, batch: int) -> Iterator[Callable[[str, Iterable[int]], None]]:
        """A breadcrumb is dropped for each piece of work in here; none is left where it ends in order."""
        try:
            yield lambda stage, documents: self._trail.drop(run, batch, stage, documents)
        except ProcessError:
            raise  # this process ends now: what it had in hand is what its parent wants to know
        except BaseException:
            self._trail.drop(run, batch, "", ())
            raise
        else:
            self._trail.drop(run, batch, "", ())

    def finish(self) -> None:
        """Wait until the batch that the device is done with is closed; not for longer than its lease."""
        with contextlib.suppress(Exception):
            self.write_behind.settle(self.lease_s)

    def leave(self) -> NoReturn:
        """End this process, without cleaning up on a device that is lost; Celery starts another."""
        self.finish()
        logging.shutdown()
        os._exit(DEVICE_LOST_EXIT)


@worker_process_init.connect  # type: ignore[untyped-decorator] # celery has no types
def start(**_: Any) -> None:
    """In the spawned child, once: logs, pin, torch, resources on the app."""
    settings = load_settings()
    logs.configure(settings)
    identity = slot_identity()
    logs.bind_process(slot=identity.slot, device=identity.device)
    fault: RunError | None = None
    try:
        _load_torch(identity.device, identity.threads)
    except RunError as error:
        fault = error
    except Exception as error:  # passed on, Celery would log it and go on without resources
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        fault = SurroundingsError(f"torch cannot be used by {identity.slot}: {reason}.", "`penstock doctor` says more.")
    current_app.penstock = ProcessResources(settings, fault)


@worker_process_shutdown.connect  # type: ignore[untyped-decorator] # celery has no types
def end(**_: Any) -> None:
    """In the child, when it is told to end."""
    resources: ProcessResources | None = getattr(current_app, "penstock", None)
    if resources is not None:
        resources.finish()


@task_failure.connect  # type: ignore[untyped-decorator]  # it has no types
def on_failure(exception: BaseException | None = None, args: tuple[Any, ...] = (), **_: Any) -> None:
    """In Celery's parent, when the child died under a task: what it held is due again at once."""
    if not isinstance(exception, WorkerLostError):
        return
    explained = False
    settings = load_settings()
    identity = slot_identity()
    crumb = read(Path(identity.breadcrumb))
    clear(Path(identity.breadcrumb))
    _memory.after_death(Path(identity.breadcrumb), crumb, killed="signal 9" in str(exception))
    reason = Reason.TIMEOUT if crumb is not None and crumb.hung else Reason.CRASH
    detail = f"The process died while it computed this document alone ({exception})."
    with contextlib.suppress(InfrastructureError):  # the lease then runs out by itself
        client = connect(address.client_url(settings.broker_url or ""), settings.redis_timeout_s)
        runs = known_runs(client)
        for run, folder in runs.items():
            ledger = Ledger(client, run)
            if crumb is not None and crumb.run == run:
                explained = True
                deaths, barren = Deaths(ledger, Store(Path(folder))), not crumb.finished
                after = deaths.record(crumb.batch, identity.owner, crumb.documents, reason, detail, barren=barren)
                logger.warning(
                    "The worker child died at batch %d of run %s, %d documents in hand; %d are suspect, %d guilty.",
                    crumb.batch,
                    run,
                    len(crumb.documents),
                    len(after.suspects),
                    len(after.guilty),
                )
            elif released := ledger.abandon(identity.owner, uncount=crumb is not None):
                explained = True
                logger.warning("The worker child died at batch %s of run %s; it will be tried again.", released, run)
        if not explained and len(args) == 2:
            folder = runs.get(str(args[0]), "")
            explained = bool(folder) and is_committed(Store(Path(folder)), int(args[1]))  # died behind its work
        _before_claims.append(not explained)
        if not explained and len(args) == 2:
            _died_before_its_claim(Ledger(client, str(args[0])), int(args[1]), identity.owner, exception)


def _died_before_its_claim(ledger: Ledger, batch: int, owner: str, exception: BaseException) -> None:
    """A child that held nothing was loading the run's model. Once may be chance; thrice it cannot do the run."""
    logger.warning("The worker child died before it began batch %d: %s", batch, exception)
    if len(_before_claims) == _before_claims.maxlen and all(_before_claims):
        ledger.refuse(owner, f"The worker process dies while it loads the model ({exception}); is memory too small?")
    else:
        ledger.release(batch, delivery="", uncount=True)


def _load_torch(device: str, threads: int) -> None:
    """Import torch under the pin, and check that the pin holds."""
    import torch

    import pipelines.extract  # noqa: F401 - loaded now, not in the first batch's time

    torch.set_num_threads(threads)
    if device == "cpu":
        return
    seen = torch.cuda.device_count()
    uuid = f"GPU-{torch.cuda.get_device_properties(0).uuid}" if seen == 1 else ""
    if seen != 1 or (device.startswith("GPU-") and not uuid.startswith(device)):
        raise RunError(f"This process is pinned to {device}, but torch sees {seen} device(s) {uuid}.")
