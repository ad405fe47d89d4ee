"""Named points of a document's journey at which a process is struck: imported from outside, in tests only.

A worker's processes import this module by ``PENSTOCK_INCLUDE``, commands by ``chaos.launcher``. A journey is a folder
with the run's folder ``out`` in it and a file ``armed`` with the names of a point and of a way. What happens is noted
beside it: ``reached`` has a byte for each time that the armed point was reached, ``fired`` is there once it has struck,
which it does one time, whichever process comes by.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis.exceptions
from celery.signals import task_postrun
from chaos.noop_model import NoopExtractor

from pipelines.errors import ProcessError
from pipelines.parts import manifest, quarantine, receipts, sink, store
from pipelines.parts.layout import MANIFEST, PLAN, PLAN_SEALED, QUARANTINE, RUN, SUCCESS, part_name
from tasks import acknowledge, extract, flight
from tasks.client import redis_faults
from tasks.ledger import Ledger
from tasks.reconcile import Reconciler
from tasks.transport import Bodies

REGISTRY = Path(os.environ["FAILPOINTS"])
"""A folder with a file for each run that is struck: its journey."""
LEASE_S = float(os.environ["PENSTOCK_LEASE_S"])
PATIENCE_S = 120
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Point:
    """Whose process reaches it, what can fail there, and which time it strikes.

    Where ``overtaken``, a sleeper wakes up when another has done its work; elsewhere after one and a half leases.
    """

    side: str
    touches: str
    reach: int = 1
    overtaken: bool = False


POINTS = {
    # the feeder, who plans, publishes, reconciles and seals
    "segment-unwritten": Point("feeder", "storage", 2),
    "segment-unlinked": Point("feeder", "storage", 2),
    "segment-unsynced": Point("feeder", "storage", 2),
    "planned-unpublished": Point("feeder", "redis", 4),
    "body-unnoted": Point("feeder", "redis", 4),
    "noted-unsent": Point("feeder", "redis", 4),
    "sent": Point("feeder", "redis", 4),
    "plan-unsealed": Point("feeder", "storage"),
    "lost-unrepublished": Point("feeder", "redis"),
    "seal-midway": Point("feeder", "storage", 5),
    "manifest-unwritten": Point("feeder", "storage"),
    "manifest-unsynced": Point("feeder", "storage"),
    "success-unwritten": Point("feeder", "storage"),
    "sealed-unforgotten": Point("feeder", "redis"),
    # Celery's parent in a worker, who takes messages and acknowledges them
    "popped-unnoted": Point("parent", "redis", 3),
    "done-unacknowledged": Point("parent", "redis", 3),
    # its child, who computes and commits
    "received-unclaimed": Point("child", "redis", 3),
    "claimed": Point("child", "redis", 3, overtaken=True),
    "body-read": Point("child", "redis", 3, overtaken=True),
    "forward": Point("child", "compute", 5, overtaken=True),
    "evidence-unwritten": Point("child", "storage", 3, overtaken=True),
    "evidence-written": Point("child", "storage", 3, overtaken=True),
    "part-unsynced": Point("child", "storage", 3, overtaken=True),
    "part-unlinked": Point("child", "storage", 3, overtaken=True),
    "part-linked": Point("child", "storage", 3),
    "committed-unreceipted": Point("child", "storage", 3),
    "receipted-undropped": Point("child", "redis", 3),
    "dropped-unclosed": Point("child", "redis", 3),
}


@dataclass(frozen=True, slots=True)
class Journey:
    """What this process has in hand: its side, the journey's folder, and the batch where there is one."""

    side: str
    folder: Path
    batch: int = -1

    def armed(self) -> tuple[str, str]:
        point, way = (self.folder / "armed").read_text().split()
        return point, way

    def note(self, what: str) -> None:
        (self.folder / what).write_text(f"{self.side} {os.getpid()} {self.batch}")


_now: Journey | None = None
_slept: Journey | None = None


def follow(folder: Path) -> None:
    """This process is the feeder of a journey from now on."""
    global _now
    _now = Journey("feeder", folder) if (folder / "armed").exists() else None


def _journey(side: str, run: str, batch: int) -> Journey | None:
    try:
        return Journey(side, Path((REGISTRY / run).read_text()), batch)
    except FileNotFoundError:
        return None


def reach(name: str, journey: Journey | None = None) -> None:
    """Strike, if this point is armed for what this process has in hand and its time has come."""
    journey = journey or _now
    point = POINTS[name]
    if journey is None or journey.side != point.side:
        return
    armed, way = journey.armed()
    if armed != name:
        return
    with open(journey.folder / "reached", "ab", buffering=0) as file:
        file.write(b".")
        if file.tell() != point.reach:
            return
    journey.note("fired")
    WAYS[way](journey, name)


# -- the ways to be struck


def kill(journey: Journey, name: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def bug(journey: Journey, name: str) -> None:
    raise RuntimeError(f"failpoint {name}")


def full(journey: Journey, name: str) -> None:
    """No space: on the disk, in Redis, or in memory."""
    if POINTS[name].touches == "compute":
        raise MemoryError(f"failpoint {name}")
    with store.storage("write", name), _faults(journey):
        if POINTS[name].touches == "storage":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise redis.exceptions.OutOfMemoryError("OOM command not allowed when used memory > 'maxmemory'.")


def broken(journey: Journey, name: str) -> None:
    """The disk, the connection or the device is gone for a moment."""
    if POINTS[name].touches == "compute":
        raise ProcessError(f"The device is lost: failpoint {name}.")
    with store.storage("write", name), _faults(journey):
        if POINTS[name].touches == "storage":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        raise redis.exceptions.ConnectionError("Connection closed by server.")


def sleep(journey: Journey, name: str) -> None:
    """Longer than the lease: what this process had in hand is taken over, then it comes back."""
    global _slept
    _slept = journey
    out = journey.folder / "out"
    if journey.side == "feeder":
        _lose_lock(out)
        planned = len(list((out / PLAN).glob("seg-*")))
        journey.note("asleep")
        _until(lambda: (out / SUCCESS).exists() or len(list((out / PLAN).glob("seg-*"))) > planned)
    elif POINTS[name].overtaken:
        _until((out / part_name(journey.batch)).exists)
    else:
        time.sleep(1.5 * LEASE_S)
    journey.note("awake")


WAYS = {"kill": kill, "bug": bug, "sleep": sleep, "full": full, "broken": broken}


def _faults(journey: Journey) -> Any:
    """The ledger and the bodies say faults of Redis in our words, kombu does not."""
    return contextlib.nullcontext() if journey.side == "parent" else redis_faults()


def _until(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not look() and time.monotonic() < deadline:
        time.sleep(POLL_S)


def _lose_lock(out: Path) -> None:
    """As a network file system takes the locks of a machine that does not answer: another may lead now."""
    for descriptor in os.listdir("/proc/self/fd"):
        if os.path.realpath(f"/proc/self/fd/{descriptor}") == str((out / RUN).resolve()):
            fcntl.flock(int(descriptor), fcntl.LOCK_UN)


# -- where the points are


def _wrap(owner: Any, name: str, before: Callable[..., Any] | None, after: Callable[..., Any] | None = None) -> None:
    function = getattr(owner, name)

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        if before is not None:
            before(*arguments)
        result = function(*arguments, **options)
        if after is not None:
            after(*arguments)
        return result

    setattr(owner, name, call)


def _at(name: str) -> Callable[..., None]:
    return lambda *_: reach(name)


def _by_file(names: dict[str, str], argument: int = 1) -> Callable[..., None]:
    """A point for each beginning of a file's name, folder included."""

    def look(*arguments: Any) -> None:
        path = "/".join(Path(arguments[argument]).parts[-2:])
        for beginning, point in names.items():
            if path.startswith(beginning):
                reach(point)

    return look


def _register(ledger: Ledger, folder: str) -> None:
    if (Path(folder).parent / "armed").exists():
        (REGISTRY / ledger.run).write_text(str(Path(folder).parent))


def _receive(_: Any, run: str, batch: int) -> None:
    global _now
    _now = _journey("child", run, batch)


def _lose_one(journey: Journey | None) -> bool:
    """So that there is something to publish again, one message of a journey is lost."""
    if journey is None or journey.armed()[0] != "lost-unrepublished" or (journey.folder / "lost").exists():
        return False
    journey.note("lost")
    return True


def _send(function: Callable[..., None], *arguments: Any) -> None:
    reach("noted-unsent")
    if not _lose_one(_now):
        function(*arguments)
    reach("sent")


def _sync(function: Callable[..., None], descriptor: int) -> None:
    if _writing_part:
        reach("part-unsynced")
    function(descriptor)


_writing_part = False


def _write_part(function: Callable[..., Any], *arguments: Any) -> Any:
    global _writing_part
    _writing_part = True
    try:
        return function(*arguments)
    finally:
        _writing_part = False


def _at_message(name: str) -> Callable[..., None]:
    """A point of Celery's parent: whose message it is, its task's id ``RUN:BATCH`` tells."""

    def look(qos: Any, *arguments: Any) -> None:
        message = arguments[0] if len(arguments) > 1 else qos._delivered.get(arguments[0])
        if message is not None:
            run, _, batch = str(message.headers["id"]).rpartition(":")
            reach(name, _journey("parent", run, int(batch)))

    return look


@task_postrun.connect(weak=False)
def _ended(**_: Any) -> None:
    if _slept is not None:
        _slept.note("ended")


_wrap(Ledger, "open", _register)
_wrap(store.Store, "put_if_absent", _by_file({f"{PLAN}/seg": "segment-unwritten", PLAN_SEALED: "plan-unsealed"}))
_wrap(store.Store, "put_if_absent", _by_file({QUARANTINE: "evidence-unwritten"}))
_wrap(
    store,
    "_link_if_absent",
    _by_file({f"{PLAN}/seg": "segment-unlinked", "data/": "part-unlinked"}),
    _by_file({f"{PLAN}/seg": "segment-unsynced", "data/": "part-linked"}),
)
_wrap(flight.Publisher, "publish", _at("planned-unpublished"))
_wrap(Ledger, "publish", _at("body-unnoted"))
flight.send_batch = functools.partial(_send, flight.send_batch)
_wrap(Reconciler, "_republish", _at("lost-unrepublished"))
_wrap(manifest._Audit, "_record", _at("seal-midway"))
_wrap(manifest, "write", _at("manifest-unwritten"))
_wrap(os, "replace", None, lambda _, target: reach("manifest-unsynced") if Path(target).name == MANIFEST else None)
_wrap(store.Store, "replace", lambda _, name, *__: reach("success-unwritten") if name == SUCCESS else None)
_wrap(Ledger, "forget", _at("sealed-unforgotten"))

_wrap(acknowledge.SafeQoS, "append", _at_message("popped-unnoted"))
_wrap(acknowledge.SafeQoS, "ack", _at_message("done-unacknowledged"))
_wrap(extract, "_prepare", _receive)
_wrap(Ledger, "claim", _at("received-unclaimed"), _at("claimed"))
_wrap(Bodies, "get", None, _at("body-read"))
_wrap(NoopExtractor, "take", _at("forward"))
_wrap(quarantine, "write", None, _at("evidence-written"))
sink._write_part = functools.partial(_write_part, sink._write_part)
os.fsync = functools.partial(_sync, os.fsync)
_wrap(receipts, "write", _at("committed-unreceipted"))
_wrap(Bodies, "drop", _at("receipted-undropped"))
_wrap(Ledger, "close", _at("dropped-unclosed"))
