"""The protocol of delivery as a state machine: the product's own planner, feeder, ledger, commit and seal, disturbed.

Processes are killed between any two calls, the power goes and takes what was not synced, calls fail or are done twice,
messages are lost, repeated and shuffled, Redis is emptied, time passes. After every step and at the end the rules of
:mod:`model.oracle` hold.

It found that a part could be closed, and sealed, whose name was not durable yet. Broken on purpose, it finds: parts put
by replacing, no sync of a folder after a link, or of a part, a claim of a closed batch, a live lease given away, a
segment put behind a plan that has grown since its batches were read.

Not here: documents that workers read themselves (``--transport reference``: the planner's ranges and a worker's own
reading, see ``tests/chaos/test_reference_kills.py``), a replay of the quarantine (``test_replay_kills.py``), a run that
is cancelled, and what Celery, kombu and supervisors do around a task: a message is a line in a list here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from model.corpora import SHAPES, make_corpora
from model.stage import ENDLESS, Actor
from model.world import Stand, World

from worker.broker import EmbeddedRedis

MOST_LEADERS = 2
MOST_WORKERS = 3
NUMBERS = st.integers(0, 11)
CALLS = ["link", "fsync", "replace", "unlink", "exists", "create", "redis EVALSHA", "forward"]
STOPS = st.one_of(
    st.tuples(st.just(ENDLESS), st.sampled_from(CALLS)), st.tuples(st.integers(1, 40), st.sampled_from(["", *CALLS]))
)
"""After how many calls a process stops, or before the next call that begins so."""
LOOKS = st.integers(1, 5)
"""Looks for a segment of the plan: one for each when the backlog is read, two more before the next is put there."""
LEADERS_STOPS = st.one_of(st.just((ENDLESS, "")), st.just((ENDLESS, "")), STOPS)
Stop = tuple[int, str]


class Protocol(RuleBasedStateMachine):
    """One run, and what may befall it."""

    def __init__(self, stand: Stand) -> None:
        super().__init__()
        self.stand = stand
        self.world: World | None = None

    @property
    def run(self) -> World:
        assert self.world is not None
        return self.world

    @initialize(
        shape=st.sampled_from([*SHAPES, *SHAPES[-3:]]),
        poison=st.sets(st.integers(0, 5), max_size=2),
        looks=st.one_of(st.just(0), LOOKS),
    )
    def open(self, shape: tuple[int, int], poison: set[int], looks: int) -> None:
        corpus = self.stand.corpora[SHAPES.index(shape)]
        guilty = frozenset(document for number, document in enumerate(corpus.documents) if number in poison)
        self.world = World(self.stand, corpus, guilty)
        if looks:
            self.run.race_feeders(looks)
        else:
            self.run.start_leader().go(ENDLESS)

    def pick(self, processes: list[Actor], number: int) -> Actor:
        return processes[number % len(processes)]

    # -- work

    @precondition(lambda self: self.world and self.run.idle_leaders(MOST_LEADERS))
    @rule(steward=st.sampled_from([False, False, True]), stop=LEADERS_STOPS)
    def lead(self, steward: bool, stop: Stop) -> None:
        self.run.start_leader(steward=steward).go(stop[0], until=stop[1])

    @precondition(lambda self: self.world and self.run.idle_leaders(MOST_LEADERS) and self.run.stirred("feeders", 60))
    @rule(looks=LOOKS)
    def feeders(self, looks: int) -> None:
        """Two feeders at the next segment of the plan."""
        self.run.happens("feeders")
        self.run.race_feeders(looks)

    @precondition(lambda self: self.world and self.run.idle_workers(MOST_WORKERS) and self.run.messages())
    @rule(number=NUMBERS, stop=STOPS)
    def take(self, number: int, stop: Stop) -> None:
        self.run.start_worker(number).go(stop[0], until=stop[1])

    @precondition(lambda self: self.world and self.run.idle_workers(MOST_WORKERS) and self.run.messages())
    @rule(number=NUMBERS)
    def serve(self, number: int) -> None:
        self.run.start_worker(number).go(ENDLESS)

    @precondition(lambda self: self.world and self.run.workers_alive and self.run.idle_workers(MOST_WORKERS))
    @rule(number=NUMBERS, expired=st.sampled_from([True, True, False]), stop=LEADERS_STOPS)
    def rival(self, number: int, expired: bool, stop: Stop) -> None:
        """Somebody else gets the message of a batch that a worker has in hand, whose lease may have run out."""
        self.run.overtake(self.pick(self.run.workers_alive, number), expired=expired).go(stop[0], until=stop[1])

    @precondition(lambda self: self.world and self.run.processes)
    @rule(number=NUMBERS, stop=STOPS)
    def go(self, number: int, stop: Stop) -> None:
        self.pick(self.run.processes, number).go(stop[0], until=stop[1])

    @precondition(lambda self: self.world and self.run.idle_workers(MOST_WORKERS - 1) and self.run.messages())
    @rule(number=NUMBERS, first=st.sampled_from(CALLS), second=st.sampled_from(CALLS), again=st.sampled_from(CALLS))
    def race(self, number: int, first: str, second: str, again: str) -> None:
        """Two workers at one batch, each stopped on its way; then the first goes on."""
        one = self.run.start_worker(number)
        one.go(ENDLESS, until=first)
        self.run.overtake(one, expired=True).go(ENDLESS, until=second)
        one.go(ENDLESS, until=again)

    @precondition(lambda self: self.world and self.run.processes)
    @rule()
    def all_go(self) -> None:
        for process in self.run.processes:
            process.go(ENDLESS)

    # -- disturbance

    @rule(seconds=st.sampled_from([1.0, 6.0, 20.0, 61.0, 700.0]))
    def time_passes(self, seconds: float) -> None:
        self.run.tick(seconds)

    @precondition(lambda self: self.world and self.run.processes and self.run.stirred("kill", 60))
    @rule(number=NUMBERS, whom=st.sampled_from(["process", "child"]), noticed=st.booleans())
    def kill(self, number: int, whom: str, noticed: bool) -> None:
        self.run.happens("kill")
        process = self.pick(self.run.processes, number)
        if whom == "child" and process in self.run.workers:
            self.run.kill_child(process)
            process.go(ENDLESS)
        else:
            self.run.kill(process, noticed=noticed)

    @precondition(lambda self: self.world and self.run.processes)
    @rule(number=NUMBERS, fault=st.sampled_from(["lost", "unanswered", "repeated", "full"]), stop=STOPS)
    def strike(self, number: int, fault: str, stop: Stop) -> None:
        process = self.pick(self.run.processes, number)
        process.faults.append(fault)
        process.go(stop[0], until=stop[1])

    @precondition(lambda self: self.world and self.run.stirred("meddle"))
    @rule(what=st.sampled_from(["lose", "repeat", "shuffle", "restore", "vanish"]), number=NUMBERS)
    def meddle(self, what: str, number: int) -> None:
        self.run.meddle(what, number)
        self.run.happens("meddle")

    @precondition(lambda self: self.world and self.run.stirred("upheaval", 120))
    @rule(cut=st.booleans(), seed=st.one_of(st.none(), st.integers(0, 99)), stop=LEADERS_STOPS)
    def upheaval(self, cut: bool, seed: int | None, stop: Stop) -> None:
        """The power goes, or Redis is emptied."""
        if cut:
            self.run.cut_power(seed)
            self.run.start_leader().go(stop[0], until=stop[1])
        else:
            self.run.flush()
            for leader in self.run.leaders:
                leader.go(stop[0], until=stop[1])
        self.run.happens("upheaval")

    # -- what must hold

    @invariant()
    def all_is_well(self) -> None:
        if self.world is not None:
            self.run.check()

    def teardown(self) -> None:
        if self.world is not None:
            try:
                if sys.exc_info()[0] is None:  # else what a step has found is what counts
                    self.run.calm_down()
            finally:
                self.run.close()


@pytest.mark.slow
@pytest.mark.timeout(1200)  # a fault that is found is also made small
def test_the_protocol_keeps_its_promises(
    redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("protocol")
    stand = Stand(redis_server.client_url, folder, make_corpora(folder), monkeypatch)
    machine: Callable[[], Protocol] = lambda: Protocol(stand)  # noqa: E731 (hypothesis asks for a factory)
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    run_state_machine_as_test(  # type: ignore[no-untyped-call]  # it has no types
        machine,
        settings=settings(
            max_examples=200, stateful_step_count=30, deadline=None, print_blob=True, suppress_health_check=checks
        ),
    )
