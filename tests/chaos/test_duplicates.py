"""Messages that repeat, come in any order, come too late or go to the wrong worker; and clocks that are wrong."""

from __future__ import annotations

import random
import threading
import time

import pytest
import redis
from chaos.disturbance import until
from chaos.scenes import BATCHES, Outcomes, Scene, scene, scenes_of

from tasks.keys import QUEUE_LIST

HOUR_S = 3600


def multiply(client: redis.Redis, over: threading.Event, seen: set[bytes]) -> None:
    """Every message three times, and all that wait in a new order, ten times a second."""
    chance = random.Random(7)
    while not over.wait(0.1):
        with client.pipeline() as pipe:
            pipe.lrange(QUEUE_LIST, 0, -1)
            pipe.delete(QUEUE_LIST)
            waiting = pipe.execute()[0]
        copies = [copy for message in waiting for copy in [message] * (1 if message in seen else 3)]
        seen.update(waiting)
        chance.shuffle(copies)
        if copies:
            client.rpush(QUEUE_LIST, *copies)


@scene("thrice and shuffled")
def thrice(on: Scene) -> None:
    """Each message three times and shuffled, to two commands' workers."""
    over, seen = threading.Event(), set[bytes]()
    multiplier = threading.Thread(target=multiply, args=(on.client, over, seen))
    multiplier.start()
    try:
        other = on.start("worker", "--devices", "cpu", "--broker", on.url)
        command = on.run()
        on.ends_well(command)
    finally:
        over.set()
        multiplier.join()
    assert len(seen) >= BATCHES // 2
    assert other.process.poll() is None


@scene("too late")
def too_late(on: Scene) -> None:
    """The messages of a sealed run come again in the middle of the next one."""
    first = on.run()
    stale: set[bytes] = set()
    while first.process.poll() is None:
        stale.update(on.client.lrange(QUEUE_LIST, 0, -1))
        time.sleep(0.05)
    on.ends_well(first)
    before = {path.name: path.stat().st_mtime_ns for path in (on.out / "data").iterdir()}
    assert len(stale) >= BATCHES // 2
    second_out = on.folder / "second"
    second = on.start(*on.arguments("run", second_out), "--broker", on.url)
    until(lambda: on.committed(second_out) >= 5, "five parts", second)
    on.client.lpush(QUEUE_LIST, *stale)
    on.client.rpush(QUEUE_LIST, *stale)
    on.ends_well(second, second_out)
    assert {path.name: path.stat().st_mtime_ns for path in (on.out / "data").iterdir()} == before
    on.assert_right(on.out)


@scene("two runs")
def two_runs(on: Scene) -> None:
    """Two runs at the same time on one Redis, whose workers take from both."""
    other_out = on.folder / "other"
    command = on.run()
    other = on.start(*on.arguments("run", other_out), "--broker", on.url)
    on.ends_well(command)
    on.ends_well(other, other_out)


@scene("two deployments")
def two_deployments(on: Scene) -> None:
    """A worker of somebody else on the same Redis, who cannot see the run's folder: it costs time only."""
    blind = on.start("worker", "--devices", "cpu", "--broker", on.url, include="chaos.blind_worker")
    until(lambda: "listening" in blind.log.read_text(), "a worker that listens", blind)
    command = on.run()
    on.ends_well(command)
    assert "cannot do the run" in blind.log.read_text()


@scene("clocks an hour off")
def clocks(on: Scene) -> None:
    """One worker's clock is an hour fast, another's jumps back by an hour: leases are on the server's clock."""
    wrong = {"include": "chaos.skewed_clock"}
    arguments = ("worker", "--devices", "cpu", "--broker", on.url)
    skewed = [
        on.start(*arguments, **wrong, SKEW_S=str(HOUR_S), SKEW_AFTER_S="0"),
        on.start(*arguments, **wrong, SKEW_S=str(-HOUR_S), SKEW_AFTER_S="8"),
    ]
    for worker in skewed:
        until(lambda worker=worker: "listening" in worker.log.read_text(), "a worker that listens", worker)
    command = on.run(NOOP_PAUSE_S="0.3")
    on.ends_well(command)
    for worker in skewed:
        assert "Part committed" in worker.log.read_text(), worker.tail()
    assert on.attempts() == [1] * BATCHES


@pytest.mark.parametrize("name", scenes_of(__name__))
def test_messages_that_lie(outcomes: Outcomes, name: str) -> None:
    outcomes[name].result()
