"""What follows when a worker's child dies under a batch: suspicion narrows, and too many deaths pause the run.

Suspicion is kept in the run's folder: evidence is dear, and outlives a Redis that was emptied and a paused run.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import cast

import redis

from pipelines.documents import Reason
from pipelines.errors import InfrastructureError
from pipelines.parts.layout import suspicion_name
from pipelines.parts.sink import is_committed
from pipelines.parts.store import Store
from pipelines.suspicion import NO_SUSPICION, Suspicion, accuse, suspicion_from_json
from tasks.client import redis_faults
from tasks.keys import run_key
from tasks.ledger import Ledger

BREAKER_WINDOW_S = 600.0
BREAKER_OWNERS = 3
BREAKER_BATCHES = 10
BREAKER_SHARE = 0.05
BREAKER_BARREN = 10
"""Deaths in a row without a finished micro-batch anywhere: no document explains that so many die at their first."""


class Deaths:
    """The deaths of one run's workers. Raises InfrastructureError when Redis cannot be reached or refuses."""

    def __init__(self, ledger: Ledger, store: Store) -> None:
        self.ledger = ledger
        self.store = store
        self.client: redis.Redis = ledger.client
        self._suspicions = run_key(ledger.run, "suspicions")
        self._deaths = run_key(ledger.run, "deaths")
        self._attempts = run_key(ledger.run, "attempts")
        self._state = run_key(ledger.run, "state")

    def suspicion(self, batch: int) -> Suspicion:
        """What earlier deaths at a batch left, by the file in the run's folder alone.

        Whoever else can write to Redis would take documents out of the dataset by a word there.
        """
        text = None
        with contextlib.suppress(InfrastructureError):  # what cannot be written or read is lost: the next deaths tell
            text = self.store.read_if_present(suspicion_name(self.ledger.run, batch))
        try:
            return suspicion_from_json(text.decode()) if text else NO_SUSPICION
        except (ValueError, KeyError, TypeError):
            return NO_SUSPICION  # not ours to trust: the next deaths will tell

    def record(
        self, batch: int, owner: str, in_hand: tuple[int, ...], reason: Reason, detail: str, *, barren: bool = False
    ) -> Suspicion:
        """One more death of a child: whoever held the batch hands it back, and the suspicion is narrowed.

        ``barren`` are processes that had not finished a single micro-batch. The attempt is given back where the death
        brings the matter forward; a document found guilty wipes the slate clean.
        """
        before, after, narrowed = self._accuse(batch, in_hand, reason, detail)
        self.ledger.abandon(owner, uncount=narrowed, blamed=batch)
        with redis_faults():
            if len(after.guilty) > len(before.guilty):
                self.client.hdel(self._attempts, str(batch))
            if narrowed:
                self._pardon(batch)
            else:
                now = float(self.client.time()[0])
                self.client.zadd(self._deaths, {f"{batch}|{_process(owner)}|{after.deaths}": now})
        self._break(self._count_barren(barren))
        return after

    def note(self, batch: int, owner: str, in_hand: tuple[int, ...], detail: str) -> Suspicion:
        """A worker's process died with all its children. That is nobody's attempt, but it may be a document's doing."""
        _, after, _ = self._accuse(batch, in_hand, Reason.CRASH, detail)
        self.ledger.abandon(owner, uncount=True)
        return after

    def closed(self, batch: int) -> None:
        """A batch that had suspects has its part: deaths that no document explained say something of the machines."""
        forget_suspicion(self.store, self.ledger.run, batch)
        self._break(0)

    def _accuse(
        self, batch: int, in_hand: tuple[int, ...], reason: Reason, detail: str
    ) -> tuple[Suspicion, Suspicion, bool]:
        before = self.suspicion(batch)
        after, narrowed = accuse(before, in_hand, reason, detail)
        if is_committed(self.store, batch):
            return before, before, narrowed  # by somebody else in the meantime: nothing will be computed again
        with redis_faults():
            self.client.hset(self._suspicions, str(batch), after.deaths)  # that there were some: the breaker waits
        with contextlib.suppress(InfrastructureError):
            self.store.replace(suspicion_name(self.ledger.run, batch), after.to_json().encode())
        return before, after, narrowed

    def _pardon(self, batch: int) -> None:
        """A death that is explained by a document says nothing about the machines."""
        explained = [member for member in self._members() if member.startswith(f"{batch}|")]
        if explained:
            self.client.zrem(self._deaths, *explained)

    def _members(self) -> list[str]:
        return [
            member.decode(errors="replace") for member in cast(list[bytes], self.client.zrange(self._deaths, 0, -1))
        ]

    def _count_barren(self, barren: bool) -> int:
        """Deaths in a row, all over the fleet, without a finished micro-batch or batch in between."""
        batches = self.ledger.state().batches
        with redis_faults():
            if not barren:
                self.client.hset(self._state, "barren", 0)
                return 0
            if self.client.hget(self._state, "barren_since") != str(batches).encode():
                self.client.hset(self._state, mapping={"barren": 0, "barren_since": batches})
            return self.client.hincrby(self._state, "barren", 1)

    def _break(self, barren: int) -> None:
        """Pause the run where processes die all over: that is the model, a driver or a machine, not the documents.

        A single death at a batch that has no part yet does not count: its next attempt tells whether a document did it.
        """
        with redis_faults():
            now = float(self.client.time()[0])
            self.client.zremrangebyscore(self._deaths, 0, now - BREAKER_WINDOW_S)
            members = [(batch, rest) for batch, bar, rest in (m.partition("|") for m in self._members()) if bar]
            pending = {name.decode(errors="replace") for name in cast(list[bytes], self.client.hkeys(self._suspicions))}
        counts = Counter(batch for batch, _ in members)
        counted = [(batch, rest) for batch, rest in members if batch not in pending or counts[batch] > 1]
        batches = {batch for batch, _ in counted}
        owners = {rest.rsplit("|", 1)[0] for _, rest in counted}
        limit = max(BREAKER_BATCHES, BREAKER_SHARE * self.ledger.state().batches)
        advice = "look for a broken model, driver or machine, then `penstock resume` goes on."
        if barren >= BREAKER_BARREN:
            self._pause(f"{barren} worker processes in a row died at their first micro-batch: {advice}")
        elif len(batches) >= limit or (len(owners) >= BREAKER_OWNERS and len(batches) >= BREAKER_OWNERS):
            minutes = f"{BREAKER_WINDOW_S / 60:.0f} minutes"
            died = f"{len(owners)} worker process(es) died at {len(batches)} batches within {minutes}"
            self._pause(f"{died}, and not of a document: {advice}")

    def _pause(self, message: str) -> None:
        if self.ledger.state().state == "running":
            self.ledger.set_state("paused", message)


def forget_suspicion(store: Store, run: str, batch: int) -> None:
    """A batch has its part: what its deaths left goes, where the storage lets it."""
    with contextlib.suppress(InfrastructureError):
        store.remove(suspicion_name(run, batch))


def _process(owner: str) -> str:
    """The worker process without the number of its start: started anew it is no other machine."""
    return owner.rpartition(":")[0] or owner
