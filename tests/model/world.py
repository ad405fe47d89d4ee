"""One run and all that stands around it: its folder on a disk that forgets, its Redis, its processes, the clock."""

from __future__ import annotations

import itertools
import json
import random
import shutil
from pathlib import Path

import pytest
from celery import Celery
from model import processes
from model.corpora import Corpus
from model.disk import Disk, forgetful
from model.oracle import Oracle
from model.stage import ENDLESS, Actor, SteppedRedis

from pipelines.parts.layout import SUCCESS
from pipelines.parts.run_document import put_if_absent
from pipelines.parts.store import Store
from pipelines.suspicion import DEATHS_ALONE
from tasks import extract, feed, job, lead, ledger, reconcile
from tasks.keys import QUEUE_LIST, UNACKED_HASH, run_key
from tasks.ledger import Ledger

CLOCK = "the-clock-of-the-model"


class Stand:
    """What all runs share: the server, the app on it, the corpora, and product code that sees the model's clock."""

    def __init__(self, url: str, folder: Path, corpora: list[Corpus], patch: pytest.MonkeyPatch) -> None:
        self.client: SteppedRedis = SteppedRedis.from_url(url)
        self.folder = folder
        self.corpora = corpora
        self.app: Celery = processes.make_app(self.client)
        self.world: World | None = None
        self.numbers = itertools.count()
        forgetful(patch, lambda: self.running.disk)
        servers_time = "redis.call('TIME')"
        assert ledger._SCRIPT.count(servers_time) == 1, "the ledger reads the clock elsewhere"
        patch.setattr(ledger, "_SCRIPT", ledger._SCRIPT.replace(servers_time, f"{{redis.call('GET', '{CLOCK}'), '0'}}"))
        patch.setattr(extract, "HAND_BACK_PAUSE_S", 0.0)
        patch.setattr(job, "HAND_BACK_PAUSE_S", 0.0)
        patch.setattr(job, "RELEASE_PAUSE_S", 0.0)
        patch.setattr(extract, "planner_of", extract.planner_of.__wrapped__)  # no process remembers another's plan
        patch.setattr(lead, "SWEEP_INTERVAL_S", 0.0)
        for module in (feed, lead, reconcile):
            patch.setattr(module, "time", self)
        # Once undisturbed: from now on the server knows every script, so that a history takes the same steps again.
        warm_up = World(self, corpora[-1], frozenset())
        warm_up.calm_down()
        warm_up.close()

    @property
    def running(self) -> World:
        assert self.world is not None
        return self.world

    def monotonic(self) -> float:
        """Stands in for ``time.monotonic`` of the leader's side."""
        return self.running.now


class World:
    """One example: a run, who works on it, and what may befall them."""

    def __init__(self, stand: Stand, corpus: Corpus, poison: frozenset[str]) -> None:
        self.stand = stand
        self.corpus = corpus
        self.poison = poison
        self.now = 1_000_000.0
        self.client = stand.client
        self.store = Store(stand.folder / f"run-{next(stand.numbers)}")
        self.store.root.mkdir()
        put_if_absent(self.store, corpus.document)
        self.disk = Disk(self.store.root)
        self.oracle = Oracle(self.store, self.disk, corpus, poison, lambda: self.now)
        self.ledger = Ledger(stand.client, corpus.document.run)
        self.leaders: list[Actor] = []
        self.workers: list[Actor] = []
        self.child_kills: dict[int, int] = {}
        self.at_seal: int | None = None  # leaders until then
        self._owners = itertools.count()
        self._steps_at: dict[str, int] = {}
        stand.world = self
        stand.client.watch = self.oracle.watch  # type: ignore[method-assign]  # replaced on purpose
        stand.client.now = lambda: self.now  # type: ignore[method-assign]  # replaced on purpose
        self.flush()

    # -- who is there

    @property
    def processes(self) -> list[Actor]:
        return [process for process in (*self.leaders, *self.workers) if process.alive]

    @property
    def workers_alive(self) -> list[Actor]:
        return [worker for worker in self.workers if worker.alive]

    def idle_workers(self, all_workers: int) -> bool:
        return len(self.workers_alive) < all_workers

    def idle_leaders(self, all_leaders: int) -> bool:
        """Whether one more may come; once or twice also to a run that is sealed."""
        if self.at_seal is None and self.store.exists(SUCCESS):
            self.at_seal = len(self.leaders)
        late = 0 if self.at_seal is None else len(self.leaders) - self.at_seal
        return late < 2 and sum(leader.alive for leader in self.leaders) < all_leaders

    def stirred(self, what: str, steps: int = 1) -> bool:
        """Whether so many steps were done since this happened last: else there would be little to disturb."""
        return self._steps() >= self._steps_at.get(what, 0) + steps

    def happens(self, what: str) -> None:
        self._steps_at[what] = self._steps()

    def _steps(self) -> int:
        return sum(process.steps for process in (*self.leaders, *self.workers))

    def start_leader(self, *, steward: bool = False) -> Actor:
        owner = f"leader-{next(self._owners)}"
        app, client, store, corpus = self.stand.app, self.client, self.store, self.corpus
        started = Actor(owner, lambda: processes.lead(app, client, store, corpus, owner, steward=steward))
        self.leaders.append(started)
        return started

    def race_feeders(self, looks: int) -> None:
        """A feeder is overtaken, after so many looks for segments of the plan, by one that takes the lead by force."""
        one = self.start_leader()
        for _ in range(looks):
            one.go(ENDLESS, until="exists _plan/seg")
        self.start_leader().go(ENDLESS)
        one.go(ENDLESS)

    def forge(self, batch: int) -> int:
        """One more message of a batch comes into the queue, at this place."""
        self.client.lpush(QUEUE_LIST, processes.message(self.corpus.document.run, batch))
        return 0

    def messages(self) -> list[bytes]:
        return self.client.lrange(QUEUE_LIST, 0, -1)

    def start_worker(self, number: int) -> Actor:
        """A worker takes a message of the queue: it is unacknowledged until the task is over."""
        messages = self.messages()
        raw = messages[number % len(messages)]
        self.client.lrem(QUEUE_LIST, 1, raw)
        owner = f"worker-{next(self._owners)}"
        self.client.hset(UNACKED_HASH, owner, json.dumps([json.loads(raw), "", ""]))
        batch = int(json.loads(raw)["headers"]["id"].rpartition(":")[2])
        hands = processes.Hands(self.client, self.store, self.corpus.document, self.poison, owner, batch)
        started = Actor(f"{owner} at {batch}", lambda: processes.work(self.stand.app, hands, owner))
        started.hands = hands
        self.workers.append(started)
        return started

    def overtake(self, worker: Actor, *, expired: bool) -> Actor:
        """Somebody else gets a message of the batch that a worker has in hand; its lease may have run out."""
        if expired:
            self.tick(61.0)
        return self.start_worker(self.forge(worker.hands.batch))

    # -- what befalls them

    def tick(self, seconds: float) -> None:
        """Time passes; the lead that nobody renews runs out."""
        self.now += seconds
        self.client.set(CLOCK, self.now)
        if seconds > lead.LEADER_LEASE_S:
            self.client.delete(run_key(self.corpus.document.run, "leader"))

    def flush(self) -> None:
        self.client.flushall()
        self.client.set(CLOCK, self.now)
        self.oracle.forget()

    def kill(self, process: Actor, *, noticed: bool) -> None:
        """SIGKILL; where its supervisor notices, what it held is due again. Its message may stay hidden."""
        process.kill()
        if noticed and process in self.workers:
            self.ledger.abandon(process.hands.owner, uncount=True)

    def kill_child(self, worker: Actor) -> None:
        """SIGKILL of the child alone. Not thrice at one batch: thrice alone in hand, a document is found guilty."""
        batch = worker.hands.batch
        if self.child_kills.get(batch, 0) < DEATHS_ALONE - 1 and worker.hands.child_is_alive:
            self.child_kills[batch] = self.child_kills.get(batch, 0) + 1
            worker.doom = processes.ChildDiedError

    def cut_power(self, seed: int | None) -> None:
        """Everything ends, and what was not synced may be lost."""
        for process in self.processes:
            process.kill()
        self.disk.cut_power(seed)
        self.oracle.check(self.ledger, power_was_cut=True)

    def meddle(self, what: str, number: int) -> None:
        """The queue loses, repeats or shuffles messages, or brings back one that was not acknowledged."""
        messages = self.messages()
        hidden: dict[bytes, bytes] = self.client.hgetall(UNACKED_HASH)
        if what == "restore" and hidden:
            tag = sorted(hidden)[number % len(hidden)]
            self.client.hdel(UNACKED_HASH, tag)
            self.client.lpush(QUEUE_LIST, json.dumps(json.loads(hidden[tag])[0]))
        elif what == "vanish" and hidden:
            self.client.hdel(UNACKED_HASH, sorted(hidden)[number % len(hidden)])
        elif messages and what == "lose":
            self.client.lrem(QUEUE_LIST, 1, messages[number % len(messages)])
        elif messages and what == "repeat":
            self.client.lpush(QUEUE_LIST, messages[number % len(messages)])
        elif messages and what == "shuffle":
            random.Random(number).shuffle(messages)
            self.client.delete(QUEUE_LIST)
            self.client.rpush(QUEUE_LIST, *messages)

    # -- the end

    def calm_down(self) -> None:
        """Nothing is disturbed any more: the run is led to its end. Who is at work finishes before, or long after."""
        for process in self.processes:
            process.faults.clear()
        for leader in self.leaders:
            leader.kill()
        zombies = self.workers_alive
        if len(self.workers) % 2:
            self._finish(zombies)
        # A run that was paused, or has dead letters, is resumed by its user.
        for _ in range(6):
            self._lead_to_its_end()
            self.check()
            if self.ledger.state().state == "sealed":
                break
        self._finish(zombies)
        self.oracle.check_end()

    def _finish(self, workers: list[Actor]) -> None:
        for worker in workers:
            worker.go(ENDLESS)
        self.check()

    def _lead_to_its_end(self) -> None:
        leader = self.start_leader()
        for _ in range(300):
            leader.go(ENDLESS)
            if not leader.alive:
                return
            while self.messages():
                self.start_worker(0).go(ENDLESS)
            self.tick(10.0)
        raise AssertionError(f"the run never ends: {self.ledger.sweep()}, {self.ledger.state()}")

    def check(self) -> None:
        self.oracle.check(self.ledger)

    def close(self) -> None:
        for process in self.processes:
            process.kill()
        shutil.rmtree(self.store.root)
