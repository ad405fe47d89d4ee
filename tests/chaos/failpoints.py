"""Named points of a document's journey at which a process is struck, and the ways to be struck; in tests only.

``chaos.failpoint_places`` puts the points into the code. A journey is a folder with the run's folder ``out`` in it
and a file ``armed`` with the names of a point and of a way. What happens is noted beside it: ``reached`` has a byte for
each time that the armed point was reached, ``fired`` is there once it has struck, which it does one time, whichever
process comes by.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis.exceptions

from pipelines.errors import ProcessError
from pipelines.parts import store
from pipelines.parts.layout import LOCK, PLAN, SUCCESS, part_name
from tasks.client import redis_faults

REGISTRY = Path(os.environ.get("FAILPOINTS", os.devnull))
"""A folder with a file for each run that is struck: its journey."""
LEASE_S = 3.0
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


# A context variable: what a child does behind its task belongs to the journey of that task.
_now: ContextVar[Journey | None] = ContextVar("journey", default=None)
_feeds: Journey | None = None
_slept: Journey | None = None


def take_up(journey: Journey | None) -> None:
    """What goes on from here, behind the task too, works on a journey, or on none."""
    _now.set(journey)


def feed(folder: Path) -> None:
    """This process, all threads included, is the feeder of a journey from now on."""
    global _feeds
    _feeds = Journey("feeder", folder) if (folder / "armed").exists() else None


def in_hand() -> Journey | None:
    """The journey that this process works on."""
    return _now.get() or _feeds


def slept() -> Journey | None:
    """The journey in which this process has overslept."""
    return _slept


def journey_of(side: str, run: str, batch: int) -> Journey | None:
    """The journey of a run, if it is one that is struck."""
    try:
        return Journey(side, Path((REGISTRY / run).read_text()), batch)
    except FileNotFoundError:
        return None


def reach(name: str, journey: Journey | None = None) -> None:
    """Strike, if this point is armed for what this process has in hand and its time has come."""
    journey = journey or in_hand()
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
        if (out / SUCCESS).exists():  # nothing is left to be taken over
            time.sleep(1.5 * LEASE_S)
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
        if os.path.realpath(f"/proc/self/fd/{descriptor}") == str((out / LOCK).resolve()):
            fcntl.flock(int(descriptor), fcntl.LOCK_UN)
