"""What follows when a worker's child dies under a batch: suspicion narrows, and too many deaths pause the run."""

from __future__ import annotations

from typing import cast

import redis

from pipelines.documents import Reason
from pipelines.suspicion import NO_SUSPICION, Suspicion, accuse, suspicion_from_json
from tasks.client import redis_faults
from tasks.keys import run_key
from tasks.ledger import Ledger

BREAKER_WINDOW_S = 600.0
BREAKER_OWNERS = 3
BREAKER_BATCHES = 10
BREAKER_SHARE = 0.05


class Deaths:
    """The deaths of one run's workers. Raises InfrastructureError when Redis cannot be reached or refuses."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.client: redis.Redis = ledger.client
        self._suspicions = run_key(ledger.run, "suspicions")
        self._deaths = run_key(ledger.run, "deaths")
        self._attempts = run_key(ledger.run, "attempts")

    def suspicion(self, batch: int) -> Suspicion:
        """What earlier deaths at a batch left."""
        with redis_faults():
            text = cast("bytes | None", self.client.hget(self._suspicions, str(batch)))
        try:
            return suspicion_from_json(text.decode()) if text else NO_SUSPICION
        except (ValueError, KeyError, TypeError):
            return NO_SUSPICION  # not ours to trust: the next deaths will tell

    def record(self, batch: int, owner: str, in_hand: tuple[int, ...], reason: Reason, detail: str) -> Suspicion:
        """One more death: whoever held the batch hands it back, and the suspicion is narrowed.

        The attempt is given back where that brings the matter forward; a document found guilty wipes the slate clean.
        """
        before = self.suspicion(batch)
        after, narrowed = accuse(before, in_hand, reason, detail)
        with redis_faults():
            self.client.hset(self._suspicions, str(batch), after.to_json())
        self.ledger.abandon(owner, uncount=narrowed)
        with redis_faults():
            if len(after.guilty) > len(before.guilty):
                self.client.hdel(self._attempts, str(batch))
                self._pardon(batch)
            elif not narrowed:
                now = float(self.client.time()[0])
                self.client.zadd(self._deaths, {f"{batch}|{owner}": now})
                self.client.zremrangebyscore(self._deaths, 0, now - BREAKER_WINDOW_S)
        self._break()
        return after

    def _pardon(self, batch: int) -> None:
        """A death that is explained by a document says nothing about the machines."""
        members = cast(list[bytes], self.client.zrange(self._deaths, 0, -1))
        explained = [member for member in members if member.decode().startswith(f"{batch}|")]
        if explained:
            self.client.zrem(self._deaths, *explained)

    def _break(self) -> None:
        """Pause the run where processes die all over: that is the model, a driver or a machine, not the documents."""
        with redis_faults():
            members = [member.decode() for member in cast(list[bytes], self.client.zrange(self._deaths, 0, -1))]
        batches = {member.split("|", 1)[0] for member in members}
        owners = {member.split("|", 1)[1] for member in members}
        limit = max(BREAKER_BATCHES, BREAKER_SHARE * self.ledger.state().batches)
        if len(batches) >= limit or (len(owners) >= BREAKER_OWNERS and len(batches) >= BREAKER_OWNERS):
            self.ledger.set_state(
                "paused",
                f"{len(owners)} worker process(es) died at {len(batches)} batches within {BREAKER_WINDOW_S / 60:.0f} "
                "minutes: look for a broken model, driver or machine, then `penstock resume` goes on.",
            )
