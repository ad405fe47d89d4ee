"""Messages that repeat, come in any order, come too late or go to the wrong worker; and clocks that are wrong."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from chaos.disturbance import until
from chaos.scenes import BATCHES, Outcomes, Play, Scene, played, selected

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


def thrice(scene: Scene) -> None:
    """Each message three times and shuffled, to two commands' workers."""
    over, seen = threading.Event(), set[bytes]()
    multiplier = threading.Thread(target=multiply, args=(scene.client, over, seen))
    multiplier.start()
    try:
        other = scene.start("worker", "--devices", "cpu", "--broker", scene.url)
        command = scene.run()
        scene.ends_well(command)
    finally:
        over.set()
        multiplier.join()
    assert len(seen) >= BATCHES // 2
    assert other.process.poll() is None


def too_late(scene: Scene) -> None:
    """The messages of a sealed run come again in the middle of the next one."""
    first = scene.run()
    stale: set[bytes] = set()
    while first.process.poll() is None:
        stale.update(scene.client.lrange(QUEUE_LIST, 0, -1))
        time.sleep(0.05)
    scene.ends_well(first)
    before = {path.name: path.stat().st_mtime_ns for path in (scene.out / "data").iterdir()}
    assert len(stale) >= BATCHES // 2
    second_out = scene.folder / "second"
    second = scene.start(*scene.arguments("run", second_out), "--broker", scene.url)
    until(lambda: scene.committed(second_out) >= 5, "five parts", second)
    scene.client.lpush(QUEUE_LIST, *stale)
    scene.client.rpush(QUEUE_LIST, *stale)
    scene.ends_well(second, second_out)
    assert {path.name: path.stat().st_mtime_ns for path in (scene.out / "data").iterdir()} == before
    scene.assert_right(scene.out)


def two_runs(scene: Scene) -> None:
    """Two runs at the same time on one Redis, whose workers take from both."""
    other_out = scene.folder / "other"
    command = scene.run()
    other = scene.start(*scene.arguments("run", other_out), "--broker", scene.url)
    scene.ends_well(command)
    scene.ends_well(other, other_out)


def two_deployments(scene: Scene) -> None:
    """A worker of somebody else on the same Redis, who cannot see the run's folder: it costs time only."""
    blind = scene.start("worker", "--devices", "cpu", "--broker", scene.url, include="chaos.blind_worker")
    until(lambda: "listening" in blind.log.read_text(), "a worker that listens", blind)
    command = scene.run()
    scene.ends_well(command)
    assert "cannot do the run" in blind.log.read_text()


def clocks(scene: Scene) -> None:
    """One worker's clock is an hour fast, another's an hour slow: leases are on the server's clock."""
    skewed = [
        scene.start("worker", "--devices", "cpu", "--broker", scene.url, include="chaos.skewed_clock", SKEW_S=str(skew))
        for skew in (HOUR_S, -HOUR_S)
    ]
    for worker in skewed:
        until(lambda worker=worker: "listening" in worker.log.read_text(), "a worker that listens", worker)
    command = scene.run(NOOP_PAUSE_S="0.3")
    scene.ends_well(command)
    for worker in skewed:
        assert "Part committed" in worker.log.read_text(), worker.tail()
    assert scene.attempts() == [1] * BATCHES


SCENES: dict[str, Play] = {
    "thrice and shuffled": thrice,
    "too late": too_late,
    "two runs": two_runs,
    "two deployments": two_deployments,
    "clocks an hour off": clocks,
}


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, thin_model: Path
) -> Iterator[Outcomes]:
    with played(selected(request, SCENES), tmp_path_factory.mktemp("duplicates"), thin_model) as outcomes:
        yield outcomes


@pytest.mark.parametrize("scene", SCENES)
def test_messages_that_lie(outcomes: Outcomes, scene: str) -> None:
    outcomes[scene].result()
