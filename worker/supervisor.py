"""One pinned worker process per slot: started, watched, started again, drained. Loads no torch."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import redis

from pipelines.documents import Reason
from pipelines.errors import InfrastructureError, SurroundingsError
from pipelines.parts.store import Store
from tasks.client import redis_faults
from tasks.deaths import Deaths
from tasks.fleet import dismiss_worker, report_worker
from tasks.keys import QUEUE_LIST
from tasks.ledger import Ledger, known_runs
from worker.breadcrumb import Breadcrumb, clear, mark_hung, new_path, read, waiting_since
from worker.gpu import Slot
from worker.lifeline import die_with_parent, is_running
from worker.settings import Settings, SlotIdentity, environment_for_child, slot_environment

logger = logging.getLogger(__name__)

REPORT_INTERVAL_S = 5.0
BLIND_S = 3 * REPORT_INTERVAL_S
IDLE_LIMIT_S = 60.0
"""How long a process may wait for a message while there are some; one that lost its connections has new ones sooner."""
IDLE_TIMEOUTS = 4
"""The same in ``redis_timeout_s``, where that is long: after half of it at most it has new connections."""
EARLY_DEATH_S = 20.0
MAX_EARLY_DEATHS = 4
MAX_EARLY_KILLS = 20
"""Of processes that were killed: somebody else may be doing that."""
UNTOLD_S = 1.0
"""How long stopping waits for batches that end by themselves: those of a cancelled run do after a micro-batch."""
STOP_POLL_S = 0.05
_OWN_FOLDER = Path(__file__).resolve().parents[1]
_SERVE = "from worker.app import serve; serve()"


class _WorkerProcess:
    """One slot and the process that serves it now."""

    def __init__(self, settings: Settings, slot: Slot) -> None:
        self.settings = settings
        self.slot = slot
        self.starts = 0
        self.early_deaths = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0
        self.owner = ""
        self.breadcrumb = new_path()
        self.busy_at = 0.0
        self.is_stuck = False
        self.has_worked = False

    def start(self) -> None:
        self.starts += 1
        self.is_stuck = self.has_worked = False
        clear(self.breadcrumb)
        # A new name for each process: the leases of the last one can be told from this one's.
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{self.slot.name}:{self.starts}"
        identity = SlotIdentity(self.slot.name, self.slot.device, self.slot.threads, self.owner, str(self.breadcrumb))
        pins = {
            **self.slot.environment,
            **slot_environment(identity),
            "REMAP_SIGTERM": "SIGQUIT",  # billiard: SIGTERM hands the running batch back instead of finishing it
            "PYTHONWARNINGS": "ignore:semaphore_tracker",  # billiard's, about itself, when a worker is killed
            "PYTHONSAFEPATH": "1",  # a tasks.py in the user's folder must not stand in for ours
        }
        self.process = subprocess.Popen(  # noqa: S603 (our own words, no shell)
            [sys.executable, "-c", _SERVE],
            env=environment_for_child(self.settings, pins),
            cwd=_OWN_FOLDER,  # Celery puts the working folder first on the path when it imports its tasks
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # the command's own is for its result; what matters is logged on stderr
            start_new_session=True,  # an interrupt at the terminal is for the command, which ends its workers itself
            preexec_fn=die_with_parent(),
        )
        self.started = time.monotonic()

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """End the process and its children, one that is stopped as well: they are a group of their own."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)


class Supervisor:
    """The worker processes of one command. Use it from the main thread; as a context it stops them at the end."""

    def __init__(self, settings: Settings, slots: list[Slot], client: redis.Redis) -> None:
        self.client = client
        self.grace_s = settings.soft_shutdown_timeout_s
        self.lease_s = settings.lease_s
        self.idle_limit_s = max(IDLE_LIMIT_S, IDLE_TIMEOUTS * settings.redis_timeout_s)
        self.start_limit_s = settings.process_start_timeout_s  # a model may take as long to load, too
        self._workers = [_WorkerProcess(settings, slot) for slot in slots]
        self._reported = self._watched = 0.0
        self._gone: dict[str, bool] = {}
        """Owners of leases that are no more, and whether their attempts are given back: Redis has yet to be told."""

    def __enter__(self) -> Supervisor:
        for worker in self._workers:
            worker.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # When the run is done its workers are idle: there is nothing to hand back.
        self.stop(grace_s=0.0 if kind is None else self.grace_s)

    def tick(self) -> None:
        """Start again what died, and report what lives.

        Raises SurroundingsError where a slot's process dies again and again right after its start.
        """
        for worker in self._workers:
            if worker.alive:
                self._end_hang(worker)
            else:
                self._restart(worker)
        if time.monotonic() - self._reported >= REPORT_INTERVAL_S:
            self._reported = time.monotonic()
            with contextlib.suppress(InfrastructureError):
                self._tell_gone()
                host = socket.gethostname()
                for worker in self._workers:
                    slot = worker.slot
                    report_worker(self.client, worker.owner, host=host, slot=slot.name, device=slot.device)
                self._end_stuck()

    def stop(self, *, grace_s: float) -> None:
        """End the processes: those at work may finish their batch within the grace time, else it is handed back.

        The others are killed at once; their children die with them. Celery's own way out is not waited for: it sleeps
        the whole grace time however short the batch, and fails with a traceback in a process that has just started.
        """
        started, told = time.monotonic(), False
        while (passed_s := time.monotonic() - started) < grace_s and any(worker.alive for worker in self._workers):
            at_work = self._at_work()
            for worker in self._workers:
                if worker.process is not None and worker.alive and worker.owner not in at_work:
                    worker.kill()
                elif worker.process is not None and passed_s >= UNTOLD_S and not told:
                    worker.process.send_signal(signal.SIGTERM)  # takes no other batch after this one
            told = passed_s >= UNTOLD_S
            time.sleep(STOP_POLL_S)
        for worker in self._workers:
            if worker.process is not None:
                worker.kill()
                worker.process.wait()
                self._abandon(worker, uncount=True)
            worker.breadcrumb.unlink(missing_ok=True)

    def _end_stuck(self) -> None:
        """Kill processes that hold a batch without progress, or sit idle while work waits: whatever wedged them."""
        overdue: set[str] = set()
        refused: list[set[str]] = []
        for run in known_runs(self.client):
            ledger = Ledger(self.client, run)
            overdue |= ledger.overdue_owners(self.lease_s)
            refused.append(set(ledger.refusals()))
        can_do_nothing = set.intersection(*refused) if refused else set()
        at_work = self._at_work()
        with redis_faults():
            work_waits = self.client.llen(QUEUE_LIST) > 0
        now = time.monotonic()
        blind = now - self._watched > BLIND_S  # Redis was away: nobody knows what waited in it
        self._watched = now
        for worker in self._workers:
            crumb, waiting = read(worker.breadcrumb), waiting_since(worker.breadcrumb)
            if crumb is not None and now - crumb.since_s < crumb.limit_s and is_running(crumb.pid):
                overdue.discard(worker.owner)  # it has its time; _end_hang sees to it, and notes what was in hand
            if blind or not work_waits or worker.owner in at_work | can_do_nothing or crumb is not None:
                worker.busy_at = now
            idle_s = now - max(worker.busy_at, worker.started, waiting or 0.0)
            # What starts, or has a message and no lease yet, may load a model.
            limit_s = self.start_limit_s if waiting is None else self.idle_limit_s
            if worker.process is not None and (worker.owner in overdue or idle_s > limit_s):
                why = "holds a batch but does not get on" if worker.owner in overdue else "sits idle while work waits"
                logger.warning("The worker process of %s %s; it is killed.", worker.slot.name, why)
                worker.is_stuck = True
                worker.kill()

    def _end_hang(self, worker: _WorkerProcess) -> None:
        """Kill a child whose micro-batch takes too long; Celery's parent then does what follows from a death."""
        crumb = read(worker.breadcrumb)
        worker.has_worked |= crumb is not None
        if crumb is None or crumb.hung or time.monotonic() - crumb.since_s < crumb.limit_s:
            return
        if not is_running(crumb.pid):
            return  # it died, and Celery's parent has not noticed yet: that may take it some seconds
        logger.warning(
            "%s hangs: %d documents of batch %d are in hand for more than %.0f s; its child is killed.",
            worker.slot.name,
            len(crumb.documents),
            crumb.batch,
            crumb.limit_s,
        )
        mark_hung(worker.breadcrumb)
        with contextlib.suppress(ProcessLookupError):
            os.kill(crumb.pid, signal.SIGKILL)

    def _at_work(self) -> set[str]:
        """The processes that hold a batch; all of them, where Redis cannot be asked."""
        try:
            return {owner for run in known_runs(self.client) for owner in Ledger(self.client, run).owners()}
        except InfrastructureError:
            return {worker.owner for worker in self._workers}

    def _restart(self, worker: _WorkerProcess) -> None:
        assert worker.process is not None
        status = worker.process.returncode
        worker.kill()  # the children that it left
        worker.has_worked |= read(worker.breadcrumb) is not None
        lived_s = time.monotonic() - worker.started
        is_early = lived_s < EARLY_DEATH_S and not worker.has_worked
        worker.early_deaths = worker.early_deaths + 1 if is_early else 0
        most = MAX_EARLY_KILLS if status == -signal.SIGKILL else MAX_EARLY_DEATHS
        logger.warning("The worker process of %s ended with status %s; it is started anew.", worker.slot.name, status)
        self._bequeath(worker)
        if worker.early_deaths >= most:
            raise SurroundingsError(
                f"The worker process of {worker.slot.name} ended {worker.early_deaths} times in a row within "
                f"{EARLY_DEATH_S:.0f} s of its start (last status: {status}).",
                "Its messages above say why; `penstock doctor` checks the surroundings.",
            )
        worker.start()

    def _bequeath(self, worker: _WorkerProcess) -> None:
        """A process died that was not told to: its batch is not to blame, but what it had in hand is noted.

        Where it was killed for not getting on, the attempt counts, unless it narrows a suspicion: nothing else bounds
        a batch that wedges whoever takes it.
        """
        crumb = read(worker.breadcrumb)
        if crumb is not None:
            with contextlib.suppress(InfrastructureError):
                folder = known_runs(self.client).get(crumb.run)
                if folder is not None:
                    deaths = Deaths(Ledger(self.client, crumb.run), Store(Path(folder)))
                    self._accuse(deaths, worker, crumb)
        self._abandon(worker, uncount=not worker.is_stuck)

    @staticmethod
    def _accuse(deaths: Deaths, worker: _WorkerProcess, crumb: Breadcrumb) -> None:
        detail = "The worker died while its child computed this document alone."
        if not worker.is_stuck:
            deaths.note(crumb.batch, worker.owner, crumb.documents, detail)
            return
        reason, barren = Reason.TIMEOUT if crumb.hung else Reason.CRASH, not crumb.finished
        deaths.record(crumb.batch, worker.owner, crumb.documents, reason, detail, barren=barren)

    def _abandon(self, worker: _WorkerProcess, *, uncount: bool) -> None:
        """What a process that is gone held is due again. Where Redis is away too, it is told when it is back."""
        self._gone[worker.owner] = uncount
        with contextlib.suppress(InfrastructureError):
            self._tell_gone()

    def _tell_gone(self) -> None:
        for owner, uncount in list(self._gone.items()):
            for run in known_runs(self.client):
                Ledger(self.client, run).abandon(owner, uncount=uncount)
            dismiss_worker(self.client, owner)
            del self._gone[owner]
