"""A batch's life in Redis: published, claimed, renewed, closed, released, buried. Each step is one script call.

The ledger only says who is at work and what is in flight. It may be lost at any time: the plan and the parts in the
store are the record, and whoever leads the run rebuilds it from there.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from typing import Any, cast

import redis

from pipelines.parts.run_document import is_run_id
from tasks.client import redis_faults
from tasks.keys import ENDED_LEASES_S, RUNS, STATE_LIFETIME_S, body_key, run_key

_SCRIPT = files("tasks").joinpath("ledger.lua").read_text()
_PARTS = ("state", "open", "sizes", "leases", "attempts", "due", "dead", "suspicions", "counted", "loading")


_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")

logger = logging.getLogger(__name__)


class Verdict(StrEnum):
    """What a claim or a renewal was answered."""

    RUN = "RUN"
    LEASED = "LEASED"  # somebody else is at work
    DEAD = "DEAD"  # a dead letter
    CLOSED = "CLOSED"  # not in flight: committed since its message was sent, or Redis was emptied
    EXHAUSTED = "EXHAUSTED"  # out of attempts: whoever is told so buries it
    STOPPED = "STOPPED"  # the run is cancelled, failed or sealed
    OK = "OK"
    LOST = "LOST"  # the lease went to somebody else
    FORGOTTEN = "FORGOTTEN"  # Redis knows no lease: it was emptied


@dataclass(frozen=True, slots=True)
class Answer:
    """A verdict with its detail: the attempt number, the owner of the lease, or the state of the run."""

    verdict: Verdict
    detail: str


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """One batch in flight. Times in seconds on the server's clock; ``lease_expiry`` is 0 without a lease."""

    batch: int
    published: float
    lease_expiry: float
    due: bool


@dataclass(frozen=True, slots=True)
class Counts:
    """State and progress counters of a run. They restart when Redis forgets; the manifest has the true ones."""

    state: str
    message: str = ""
    batches: int = 0
    documents: int = 0
    rows: int = 0
    quarantined: int = 0
    tokens: int = 0


class Ledger:
    """The ledger of one run. Raises InfrastructureError when Redis cannot be reached or refuses."""

    def __init__(self, client: redis.Redis, run: str) -> None:
        self.client = client
        self.run = run
        self._keys = [run_key(run, part) for part in _PARTS]
        self._script = client.register_script(_SCRIPT)

    def _step(self, *arguments: str | int | float) -> list[str]:
        with redis_faults():
            answer = self._script(keys=self._keys, args=list(arguments))
        return [os.fsdecode(value) if isinstance(value, bytes) else str(value) for value in cast(list[Any], answer)]

    # -- the feeder's side

    def open(self, folder: str) -> None:
        """Make the run known to workers, as running; dead letters get a new chance."""
        with redis_faults():
            pipe = self.client.pipeline()
            pipe.hset(RUNS, self.run, folder)
            pipe.delete(run_key(self.run, "state"))  # counts start over: what is committed is counted from the store
            pipe.hset(run_key(self.run, "state"), mapping={"state": "running", "folder": folder, "message": ""})
            pipe.delete(*(run_key(self.run, part) for part in ("dead", "refusals", "attempts", "deaths", "counted")))
            pipe.execute()

    def publish(self, batch: int, body_bytes: int) -> bool:
        """Count a batch into the window, before its message is sent; False where Redis has no such run as running."""
        return self._step("publish", batch, body_bytes)[0] == "OK"

    def window(self) -> tuple[int, int]:
        """Batches in flight, and the bytes of their bodies."""
        with redis_faults():
            sizes = cast(list[bytes], self.client.hvals(run_key(self.run, "sizes")))
            batches = self.client.zcard(run_key(self.run, "open"))
        return batches, sum(_count(size) for size in sizes)

    def sweep(self) -> tuple[float, list[OpenBatch]]:
        """The server's time and every batch in flight."""
        now, *flat = self._step("sweep")
        entries = [flat[i : i + 4] for i in range(0, len(flat), 4)]
        for batch, *_ in entries:
            if _batch(batch) is None:
                self.strike(batch)
        return float(now), [
            OpenBatch(int(batch), float(published), float(expiry), is_due == "1")
            for batch, published, expiry, is_due in entries
            if _batch(batch) is not None
        ]

    def strike(self, entry: str | int) -> None:
        """Take out of the window what is no batch of this run: somebody else wrote it there."""
        logger.warning("Redis had %r in flight, which is no batch of run %s: it is struck off.", entry, self.run)
        name = os.fsencode(str(entry))
        with redis_faults():
            pipe = self.client.pipeline()
            pipe.zrem(run_key(self.run, "open"), name)
            pipe.srem(run_key(self.run, "due"), name)
            for part in ("sizes", "leases", "attempts", "dead"):
                pipe.hdel(run_key(self.run, part), cast(str, name))
            pipe.execute()

    def exhume(self, batch: int) -> None:
        """A batch is no dead letter after all."""
        with redis_faults():
            self.client.hdel(run_key(self.run, "dead"), str(batch))

    def dead(self) -> dict[int, str]:
        """Dead letters: batch → reason."""
        with redis_faults():
            entries = cast(dict[bytes, bytes], self.client.hgetall(run_key(self.run, "dead")))
        known = {_batch(_text(batch)): _text(reason) for batch, reason in entries.items()}
        return {batch: reason for batch, reason in known.items() if batch is not None}

    def owners(self) -> set[str]:
        """Whoever holds a lease now."""
        return {owner for _, owner in self._leases()}

    def holders(self) -> set[str]:
        """Whoever holds a lease that has not run out."""
        return self.owners() - self.overdue_owners(0.0)

    def overdue_owners(self, overdue_s: float) -> set[str]:
        """Whoever holds a lease that ran out so many seconds ago: they live, perhaps, but do not get on."""
        with redis_faults():
            now = float(self.client.time()[0])
        return {owner for expiry, owner in self._leases() if expiry + overdue_s < now}

    def _leases(self) -> list[tuple[float, str]]:
        """Expiry and owner of every lease; what is none is left out."""
        with redis_faults():
            values = cast(list[bytes], self.client.hvals(run_key(self.run, "leases")))
        found = []
        for value in values:
            expiry, _, rest = _text(value).partition("|")
            owner, bar, _ = rest.partition("|")
            with contextlib.suppress(ValueError):
                if bar:
                    found.append((float(expiry), owner))
        return found

    def known(self) -> bool:
        """Whether Redis still knows the run; after a flush it does not."""
        with redis_faults():
            return bool(self.client.hexists(RUNS, self.run))

    # -- the worker's side

    def claim(self, batch: int, *, owner: str, delivery: str, lease_s: float, max_attempts: int) -> Answer:
        """Ask for the right to work on a batch; RUN counts an attempt."""
        verdict, detail = self._step("claim", batch, owner, delivery, lease_s, max_attempts)
        return Answer(Verdict(verdict), detail)

    def renew(self, batch: int, *, delivery: str, lease_s: float) -> Answer:
        """Prolong the lease after progress."""
        verdict, *detail = self._step("renew", batch, delivery, lease_s)
        return Answer(Verdict(verdict), detail[0] if detail else "")

    def close(self, batch: int, *, documents: int, rows: int, quarantined: int, tokens: int) -> bool:
        """The batch is committed; True for the call that closed it, which alone is counted."""
        return self._step("close", batch, documents, rows, quarantined, tokens)[0] == "CLOSED"

    def release(self, batch: int, *, delivery: str, uncount: bool) -> None:
        """Hand a batch back, unless another delivery holds it. With ``uncount`` the attempt is given back too: the
        batch is not to blame.
        """
        self._step("release", batch, delivery, int(uncount))

    def bury(self, batch: int, reason: str) -> None:
        """Make a batch a dead letter."""
        self._step("bury", batch, reason)

    def abandon(self, owner: str, *, uncount: bool, blamed: int | None = None) -> list[int]:
        """Release whatever an owner that is gone held; returns the batches. ``uncount`` as in :meth:`release`.

        Where one batch is ``blamed``, that is said of it alone: the others get their attempts back.
        """
        said = self._step("abandon", owner, int(uncount), "" if blamed is None else blamed)
        released = [_batch(batch) for batch in said]
        return [batch for batch in released if batch is not None]

    # -- the state of the run

    def state(self) -> Counts:
        """State and progress counters; state ``unknown`` when Redis knows nothing of the run."""
        with redis_faults():
            raw = cast(dict[bytes, bytes], self.client.hgetall(run_key(self.run, "state")))
        values = {_text(key): _text(value) for key, value in raw.items()}
        numbers = {
            name: _count(values.get(name, "0")) for name in ("batches", "documents", "rows", "quarantined", "tokens")
        }
        return Counts(state=values.get("state", "unknown"), message=values.get("message", ""), **numbers)

    def set_state(self, state: str, message: str = "") -> None:
        """One of running, cancelled, paused, failed, incomplete and sealed; all but the first stop workers."""
        with redis_faults():
            self.client.hset(run_key(self.run, "state"), mapping={"state": state, "message": message})

    def remark(self, message: str) -> None:
        """Something that `status` should show, of a run that goes on."""
        with redis_faults():
            self.client.hset(run_key(self.run, "state"), "message", message)

    def refuse(self, owner: str, message: str) -> None:
        """A worker cannot do this run at all (folder or model not visible, dtype not to be had)."""
        with redis_faults():
            self.client.hset(run_key(self.run, "refusals"), owner, message)

    def accept(self, owner: str) -> None:
        """A worker that may have refused the run can do it after all."""
        with redis_faults():
            self.client.hdel(run_key(self.run, "refusals"), owner)

    def refusals(self) -> dict[str, str]:
        """Owner → why it cannot do this run."""
        with redis_faults():
            entries = cast(dict[bytes, bytes], self.client.hgetall(run_key(self.run, "refusals")))
        return {_text(owner): _text(message) for owner, message in entries.items()}

    def forget(self, state: str, message: str = "") -> None:
        """The run has ended in ``state``: drop all but that, bodies included, and that after a while.

        Leases last as long as they say: their holders notice the end after the micro-batch at hand.
        """
        held = bool(self.holders())
        with redis_faults():
            in_flight = cast(list[bytes], self.client.zrange(run_key(self.run, "open"), 0, -1))
            pipe = self.client.pipeline()
            pipe.hset(run_key(self.run, "state"), mapping={"state": state, "message": message})
            if in_flight:
                pipe.unlink(*(body_key(self.run, _batch(_text(batch)) or 0) for batch in in_flight))
            pipe.expire(run_key(self.run, "state"), STATE_LIFETIME_S)
            pipe.expire(run_key(self.run, "leases"), ENDED_LEASES_S)
            pipe.expire(run_key(self.run, "loading"), ENDED_LEASES_S)
            kept = {"state", "leases", "loading"} if held else {"state", "loading"}
            pipe.delete(*(run_key(self.run, part) for part in (*_PARTS, "refusals", "deaths") if part not in kept))
            pipe.hdel(RUNS, self.run)
            pipe.execute()


def known_runs(client: redis.Redis) -> dict[str, str]:
    """Run → folder of the runs that are open in this Redis; what cannot be one is left out."""
    with redis_faults():
        entries = cast(dict[bytes, bytes], client.hgetall(RUNS))
    known = {run.decode(errors="replace"): os.fsdecode(folder) for run, folder in entries.items()}
    return {run: folder for run, folder in known.items() if is_run_id(run)}


def _text(value: bytes | str | int | float) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _batch(text: str) -> int | None:
    """The number of a batch as penstock writes it; None for anything else that Redis may hold."""
    return int(text) if _NUMBER.fullmatch(text) else None


def _count(value: bytes | str) -> int:
    """A counter; 0 for what is none."""
    text = _text(value)
    return int(text) if _NUMBER.fullmatch(text) else 0
