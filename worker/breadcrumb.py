"""What a worker's child has in hand, written where it survives the child: a page of shared memory per process.

The child writes before each piece of work, Celery's parent reads it when the child has died, the supervisor looks at it
to see whether the child hangs.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import statistics
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from worker.lifeline import is_running

SIZE = 1 << 20
"""Bytes of a page: the indices of a batch's 65,536 documents fit."""
_HEADER = 8
_HUNG = b"hung"
_BEHIND_NOTE = b"\0"
"""Between the note, which is JSON, and the documents' indices, four bytes each: there may be thousands, many times a
second."""
_PACE = 256
"""Bytes at the end of a page: what the slot has learnt of its pace, for the children to come."""
_WAITING = 64
"""Bytes before those: since when its process waits for a message."""
_BUDGETS = 512
"""Bytes before those: the token budgets of the slot, of the last encoders that it used."""
_KEPT_BUDGETS = 10
_ROOM = SIZE - _HEADER - len(_HUNG) - _BUDGETS - _WAITING - _PACE
TOKENISE = "tokenise"
"""The stage that needs no device."""
_GUESS = "?"
"""Before the name of a stage that no child of the slot has brought to an end."""
_held: list[int] = []
"""The locks on this process's own pages; they go when it does, however it ends."""
MEDIAN_OF = 101
HANG_MEDIANS = 20
"""A piece of work that takes so many times as long as the median of its stage hangs."""


@dataclass(frozen=True, slots=True)
class Breadcrumb:
    """Documents (indices into the batch's) that a process had in hand since ``since_s`` (monotonic clock).

    ``limit_s`` is how long that may take; ``hung`` is set by the supervisor that ended it for taking longer.
    ``finished`` counts what this process has brought to an end before: of the device's work, or where it tokenises, of
    that.
    """

    pid: int
    run: str
    batch: int
    stage: str
    documents: tuple[int, ...]
    since_s: float
    limit_s: float
    finished: int = 0
    hung: bool = False


def new_path() -> Path:
    """A new file for one worker process; in memory, where the system has such a place and room in it."""
    shared = Path("/dev/shm")  # noqa: S108 - the place for it on Linux
    if shared.is_dir() and os.access(shared, os.W_OK):
        with contextlib.suppress(OSError):
            return _new_page(shared)
    return _new_page(Path(tempfile.gettempdir()))


def _new_page(place: Path) -> Path:
    _sweep(place)
    handle, name = tempfile.mkstemp(prefix="penstock-", suffix=".new", dir=place)
    try:
        # Now, not at the first write: that would kill its writer (SIGBUS) where the place is full.
        os.posix_fallocate(handle, 0, SIZE)
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError:
        os.close(handle)
        os.unlink(name)
        raise
    _held.append(handle)
    return Path(name).rename(Path(name).with_suffix(".page"))  # never seen without its owner's hold on it


def _sweep(place: Path) -> None:
    """Remove the pages of commands that were killed: nobody holds them any more, and each is memory."""
    for page in place.glob("penstock-*.page"):
        with contextlib.suppress(OSError), page.open("r+b") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            page.unlink()


class Trail:
    """The writing side, in the worker's child. ``hang_limit_s`` is the least time that a piece of work is given.

    The limits that its predecessor's medians gave hold until it has medians of its own.
    """

    def __init__(self, path: Path, hang_limit_s: float) -> None:
        with path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), SIZE)
        self._least_s = hang_limit_s
        self._durations: dict[str, deque[float]] = {}
        self._limits = _limits(self._page)
        self._since = 0.0
        self._stage = ""
        self._documents = _indices(())
        self._finished: Counter[bool] = Counter()

    def drop(self, run: str, batch: int, stage: str, documents: Iterable[int]) -> None:
        """Note what is taken in hand now; an empty ``stage`` clears it."""
        now, in_hand = time.monotonic(), _indices(documents)
        if self._stage:
            durations = self._durations.setdefault(self._stage, deque(maxlen=MEDIAN_OF))
            durations.append(now - self._since)
            # Several micro-batches may be in hand, the oldest first: where they still are, none was finished.
            if not np.array_equal(self._documents, in_hand[: len(self._documents)]):
                self._finished[self._stage == TOKENISE] += 1
            self._limits[self._stage] = HANG_MEDIANS * statistics.median(durations)
            self._limits.pop(_GUESS + self._stage, None)
            _keep(self._page, self._limits)
        self._since, self._stage, self._documents = now, stage, in_hand
        data = b""
        if stage:
            note = {
                "pid": os.getpid(),
                "run": run,
                "batch": batch,
                "stage": stage,
                "since_s": now,
                "limit_s": max(self._least_s, self._limits.get(stage, self._limits.get(_GUESS + stage, 0.0))),
                "finished": self._finished[stage == TOKENISE],
            }
            data = json.dumps(note).encode() + _BEHIND_NOTE + in_hand.tobytes()
        # The length last: a process that dies in between leaves an empty page, not half a note.
        self._page[:_HEADER] = bytes(_HEADER)
        if len(data) <= _ROOM:
            self._page[_HEADER : _HEADER + len(data)] = data
            self._page[_HEADER + len(data) : _HEADER + len(data) + len(_HUNG)] = bytes(len(_HUNG))
            self._page[:_HEADER] = len(data).to_bytes(_HEADER, "little")

    def wait(self) -> None:
        """Note that this process waits for a message from now on."""
        _put_waiting(self._page, json.dumps({"pid": os.getpid(), "since_s": round(time.monotonic(), 3)}).encode())

    def wake(self) -> None:
        """Note that it has one."""
        _put_waiting(self._page, b"")

    def longest_s(self) -> float:
        """The longest that a piece of work may take by what is known of the pace; 0 where nothing is.

        Asked at the end of the very first piece of a stage, that counts already.
        """
        first = {}
        if self._stage and self._stage not in self._limits:
            first = {self._stage: HANG_MEDIANS * (time.monotonic() - self._since)}
        return max((self._limits | first).values(), default=0.0)


def _indices(documents: Iterable[int]) -> npt.NDArray[np.int32]:
    return np.array(documents if isinstance(documents, np.ndarray) else [*documents], np.int32)


def _limits(page: mmap.mmap) -> dict[str, float]:
    """Stage → seconds that a piece of it may take; empty where nothing is known."""
    try:
        found = json.loads(page[SIZE - _PACE :].rstrip(b"\0") or b"{}")
        return {str(stage): float(limit_s) for stage, limit_s in found.items()}
    except (ValueError, TypeError, AttributeError):
        return {}  # its writer died over it


def _keep(page: mmap.mmap, limits: dict[str, float]) -> None:
    page[SIZE - _PACE :] = json.dumps(limits).encode().ljust(_PACE, b"\0")[:_PACE]


def _put_waiting(page: mmap.mmap, data: bytes) -> None:
    start = SIZE - _PACE - _WAITING
    page[start : start + _WAITING] = data.ljust(_WAITING, b"\0")


def waiting_since(path: Path) -> float | None:
    """Since when (monotonic clock) the process waits for a message; None while it starts, has one, or is gone."""
    try:
        with path.open("rb", buffering=0) as page:
            page.seek(SIZE - _PACE - _WAITING)
            note = json.loads(page.read(_WAITING).rstrip(b"\0"))
        return float(note["since_s"]) if is_running(int(note["pid"])) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def kept_budgets(path: Path) -> dict[str, int]:
    """The token budgets that a slot's children have left; empty where there are none, or none that can be read."""
    try:
        with path.open("rb", buffering=0) as page:
            page.seek(SIZE - _PACE - _WAITING - _BUDGETS)
            found = json.loads(page.read(_BUDGETS).rstrip(b"\0") or b"{}")
        return {str(key): int(tokens) for key, tokens in found.items() if int(tokens) > 0}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def keep_budgets(path: Path, budgets: Mapping[str, int]) -> None:
    """Leave the token budgets of a slot to the children to come."""
    data = json.dumps(dict(list(budgets.items())[-_KEPT_BUDGETS:])).encode()
    with path.open("r+b") as file, mmap.mmap(file.fileno(), SIZE) as page:
        start = SIZE - _PACE - _WAITING - _BUDGETS
        page[start : start + _BUDGETS] = data.ljust(_BUDGETS, b"\0")[:_BUDGETS]


def read(path: Path) -> Breadcrumb | None:
    """What the process had in hand; None where it had nothing, or died while writing it down."""
    try:
        with path.open("rb", buffering=0) as page:
            length = int.from_bytes(page.read(_HEADER), "little")
            if not 0 < length <= _ROOM:
                return None
            note, hung = page.read(length), page.read(len(_HUNG)) == _HUNG
    except OSError:
        return None
    try:
        note, _, indices = note.partition(_BEHIND_NOTE)
        documents = tuple(dict.fromkeys(np.frombuffer(indices, np.int32).tolist()))
        return Breadcrumb(**json.loads(note), documents=documents, hung=hung)
    except (ValueError, TypeError, KeyError):
        return None


def clear(path: Path) -> None:
    """Forget what a dead process had in hand: whoever looks next must not take it for the work of its successor."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), SIZE) as page:
        page[:_HEADER] = bytes(_HEADER)


def mark_hung(path: Path) -> None:
    """Note that what is in hand took too long; whoever reads the breadcrumb of the dead process sees it.

    Where no child of this slot has ever brought such work to an end, the next gets twice the time: the machine may be
    slower than anybody thought.
    """
    crumb = read(path)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), SIZE) as page:
        length = int.from_bytes(page[:_HEADER], "little")
        page[_HEADER + length : _HEADER + length + len(_HUNG)] = _HUNG
        if crumb is not None and crumb.stage not in (limits := _limits(page)):
            _keep(page, limits | {_GUESS + crumb.stage: 2 * crumb.limit_s})
