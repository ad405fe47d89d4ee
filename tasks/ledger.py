"""A batch's life in Redis: published, claimed, renewed, closed, released, buried. Each step is one script call.

The ledger only says who is at work and what is in flight. It may be lost at any time: the plan and the parts in the
store are the record, and whoever leads the run rebuilds it from there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from typing import Any, cast

import redis

from pipelines.parts.run_document import is_run_id
from tasks.client import redis_faults
from tasks.keys import ENDED_LEASES_S, RUNS, STATE_LIFETIME_S, body_key, run_key

_SCRIPT = files("tasks").joinpath("ledger.lua").read_text()
_PARTS = ("state", "open", "sizes", "leases", "attempts", "due", "dead", "suspicions", "counted")


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
        return [_text(value) for value in cast(list[Any], answer)]

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

    def publish(self, batch: int, body_bytes: int) -> None:
        """Count a batch into the window. Called before its message is sent."""
        self._step("publish", batch, body_bytes)

    def window(self) -> tuple[int, int]:
        """Batches in flight, and the bytes of their bodies."""
        with redis_faults():
            sizes = cast(list[bytes], self.client.hvals(run_key(self.run, "sizes")))
            batches = self.client.zcard(run_key(self.run, "open"))
        return batches, sum(int(size) for size in sizes)

    def sweep(self) -> tuple[float, list[OpenBatch]]:
        """The server's time and every batch in flight."""
        now, *flat = self._step("sweep")
        return float(now), [
            OpenBatch(int(flat[i]), float(flat[i + 1]), float(flat[i + 2]), flat[i + 3] == "1")
            for i in range(0, len(flat), 4)
        ]

    def dead(self) -> dict[int, str]:
        """Dead letters: batch → reason."""
        with redis_faults():
            entries = cast(dict[bytes, bytes], self.client.hgetall(run_key(self.run, "dead")))
        return {int(batch): _text(reason) for batch, reason in entries.items()}

    def owners(self) -> set[str]:
        """Whoever holds a lease now."""
        with redis_faults():
            leases = cast(list[bytes], self.client.hvals(run_key(self.run, "leases")))
        return {_text(lease).split("|")[1] for lease in leases}

    def holders(self) -> set[str]:
        """Whoever holds a lease that has not run out."""
        return self.owners() - self.overdue_owners(0.0)

    def overdue_owners(self, overdue_s: float) -> set[str]:
        """Whoever holds a lease that ran out so many seconds ago: they live, perhaps, but do not get on."""
        with redis_faults():
            leases = cast(list[bytes], self.client.hvals(run_key(self.run, "leases")))
            now = float(self.client.time()[0])
        parts = [_text(lease).split("|") for lease in leases]
        return {owner for expiry, owner, _ in parts if float(expiry) + overdue_s < now}

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

    def abandon(self, owner: str, *, uncount: bool) -> list[int]:
        """Release whatever an owner that is gone held; returns the batches. ``uncount`` as in :meth:`release`."""
        return [int(batch) for batch in self._step("abandon", owner, int(uncount))]

    # -- the state of the run

    def state(self) -> Counts:
        """State and progress counters; state ``unknown`` when Redis knows nothing of the run."""
        with redis_faults():
            raw = cast(dict[bytes, bytes], self.client.hgetall(run_key(self.run, "state")))
        values = {_text(key): _text(value) for key, value in raw.items()}
        numbers = {name: int(values.get(name, 0)) for name in ("batches", "documents", "rows", "quarantined", "tokens")}
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
                pipe.unlink(*(body_key(self.run, int(batch)) for batch in in_flight))
            pipe.expire(run_key(self.run, "state"), STATE_LIFETIME_S)
            pipe.expire(run_key(self.run, "leases"), ENDED_LEASES_S)
            kept = {"state", "leases"} if held else {"state"}
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
    return value.decode() if isinstance(value, bytes) else str(value)
