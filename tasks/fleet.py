"""The worker processes that are alive, as their supervisors report them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import cast

import redis

from tasks.client import redis_faults
from tasks.keys import WORKER_SILENCE_S, WORKERS


@dataclass(frozen=True, slots=True)
class WorkerEntry:
    """A live worker process, as its supervisor last reported it. ``seen`` in seconds on the server's clock."""

    owner: str
    host: str
    slot: str
    device: str
    seen: float


def report_worker(client: redis.Redis, owner: str, *, host: str, slot: str, device: str) -> None:
    """Say that a worker process is alive; :func:`live_workers` forgets it after :data:`WORKER_SILENCE_S`."""
    with redis_faults():
        now = float(client.time()[0])
        value = json.dumps({"host": host, "slot": slot, "device": device, "seen": now})
        client.hset(WORKERS, owner, value)


def dismiss_worker(client: redis.Redis, owner: str) -> None:
    """A worker process has ended."""
    with redis_faults():
        client.hdel(WORKERS, owner)


def live_workers(client: redis.Redis) -> list[WorkerEntry]:
    """The worker processes that reported lately; the silent ones are struck off."""
    with redis_faults():
        entries = cast(dict[bytes, bytes], client.hgetall(WORKERS))
        now = float(client.time()[0])
        live: list[WorkerEntry] = []
        for owner, value in entries.items():
            entry = _entry(owner, value)
            if entry is None or now - entry.seen > WORKER_SILENCE_S:
                client.hdel(WORKERS, owner)
            else:
                live.append(entry)
    return sorted(live, key=lambda entry: (entry.host, entry.slot))


def _entry(owner: bytes, value: bytes) -> WorkerEntry | None:
    """What a supervisor reported; None for what none did."""
    try:
        report = json.loads(value)
        return WorkerEntry(
            owner.decode(), str(report["host"]), str(report["slot"]), str(report["device"]), float(report["seen"])
        )
    except (LookupError, TypeError, ValueError, OverflowError, RecursionError):
        return None
