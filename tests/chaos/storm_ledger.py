"""What a storm does to Redis and reads in it, from the outside: leases before a kill, and the queue's own troubles."""

from __future__ import annotations

import json
import random
import time
import uuid
from pathlib import Path
from typing import Any

import redis
from chaos.storm_plan import Trouble

from tasks.keys import QUEUE_LIST, UNACKED_HASH, run_key

LATE_S = (1.0, 10.0)
"""When the third delivery of a message comes: mostly after its batch was committed and acknowledged."""


class RedisView:
    """A connection of one's own. Every call raises redis.RedisError where Redis is away."""

    def __init__(self, url: str, out: Path) -> None:
        self.client = redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=2)
        self.out = out
        self._run = ""

    @property
    def run(self) -> str:
        """The run's name, once there is one."""
        if not self._run and (path := self.out / "_run.json").exists():
            self._run = json.loads(path.read_text())["run"]
        return self._run

    def leases(self) -> dict[int, str]:
        """Batch → who holds it."""
        # redis' types allow for its asynchronous client as well
        entries: dict[bytes, bytes] = self.client.hgetall(run_key(self.run, "leases"))  # type: ignore[assignment]
        return {int(batch): lease.decode().split("|")[1] for batch, lease in entries.items()}

    def unacknowledged(self) -> dict[str, int]:
        """Delivery tag → batch, of what was delivered and not acknowledged."""
        # redis' types allow for its asynchronous client as well
        entries: dict[bytes, bytes] = self.client.hgetall(UNACKED_HASH)  # type: ignore[assignment]
        return {tag.decode(): batch_of(json.loads(entry)[0]) for tag, entry in entries.items()}

    def lose(self, rng: random.Random) -> int | None:
        """Take a message out of the queue; its batch, where that was the only message of it and nobody is at work."""
        # redis' types allow for its asynchronous client as well
        entries: list[bytes] = self.client.lrange(QUEUE_LIST, 0, -1)  # type: ignore[assignment]
        if not entries:
            return None
        entry = rng.choice(entries)
        batch = batch_of(json.loads(entry))
        others = [batch_of(json.loads(other)) for other in entries if other != entry]
        known = batch in others or batch in self.unacknowledged().values() or batch in self.leases()
        taken = self.client.lrem(QUEUE_LIST, 1, entry.decode())
        return batch if taken and not known else None


def batch_of(message: dict[str, Any]) -> int:
    """The batch of a message, from its task id ``RUN:BATCH``."""
    return int(str(message["headers"]["id"]).rpartition(":")[2])


class Mischief:
    """What is done to the queue besides killing; call :meth:`tick` often."""

    def __init__(self, trouble: Trouble, view: RedisView, rng: random.Random) -> None:
        self.trouble = trouble
        self.view = view
        self.rng = rng
        self.flushes = 0
        self.copies = 0
        self._due = time.monotonic() + rng.uniform(1, 6)
        self._seen: set[str] = set()
        self._late: list[tuple[float, str]] = []

    def tick(self) -> int | None:
        """Do what is due; the batch whose message was lost, where one was. Raises redis.RedisError."""
        if self.trouble is Trouble.TRIPLE:
            self._triple()
        if time.monotonic() < self._due:
            return None
        if self.trouble is Trouble.FLUSH:
            self._due = time.monotonic() + self.rng.uniform(5, 20)
            self.view.client.flushall()
            self.flushes += 1
        elif self.trouble is Trouble.LOSE:
            batch = self.view.lose(self.rng)
            # The queue is empty for moments only: look again soon.
            self._due = time.monotonic() + (self.rng.uniform(0.5, 5) if batch is not None else 0.1)
            return batch
        return None

    def _triple(self) -> None:
        """A copy of each new message into a shuffled queue, another one later. Each has a delivery tag of its own.

        What a worker takes between two looks is missed; messages wait for longer than that, but for a few.
        """
        client = self.view.client
        entries: list[bytes] = client.lrange(QUEUE_LIST, 0, -1)  # type: ignore[assignment]  # redis' types allow more
        new = [entry.decode() for entry in entries if _tag(entry) not in self._seen]
        now = time.monotonic()
        if new:
            copies = [self._copy(entry) for entry in new]
            self._seen.update(_tag(entry) for entry in new)
            self._late += [(now + self.rng.uniform(*LATE_S), self._copy(entry)) for entry in new]
            with client.pipeline() as pipe:
                pipe.watch(QUEUE_LIST)
                shuffled = [entry.decode() for entry in pipe.lrange(QUEUE_LIST, 0, -1)] + copies
                self.rng.shuffle(shuffled)
                pipe.multi()
                pipe.delete(QUEUE_LIST)
                pipe.rpush(QUEUE_LIST, *shuffled)
                try:
                    pipe.execute()
                except redis.WatchError:  # a worker took one at this very moment: in the order they come, then
                    client.lpush(QUEUE_LIST, *copies)
            self.copies += len(copies)
        due = [entry for at, entry in self._late if at <= now]
        if due:
            client.lpush(QUEUE_LIST, *due)
            self.copies += len(due)
            self._late = [(at, entry) for at, entry in self._late if at > now]

    def _copy(self, entry: str) -> str:
        message = json.loads(entry)
        tag = str(uuid.UUID(int=self.rng.getrandbits(128)))
        message["properties"]["delivery_tag"] = tag
        self._seen.add(tag)
        return json.dumps(message)


def _tag(entry: bytes | str) -> str:
    return str(json.loads(entry)["properties"]["delivery_tag"])
