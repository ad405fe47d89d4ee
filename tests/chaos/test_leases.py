"""Leases: renewed by progress however long a batch takes, taken over when nobody gets on; zombies add no second row."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from chaos.disturbance import Command, until
from chaos.scenes import BATCHES, Outcomes, Play, Scene, played, selected, write_corpus

from tasks.keys import QUEUE_LIST, run_key
from tasks.ledger import known_runs

LONG_S = float(os.environ.get("PENSTOCK_TEST_LONG_BATCH_S", "20"))
"""How long the long batch takes; its lease is 4 s and the visibility timeout 5 s."""


def worker(scene: Scene, **environment: str) -> Command:
    """A worker on the scene's Redis, ready for messages."""
    command = scene.start("worker", "--devices", "cpu", "--broker", scene.url, **environment)
    until(lambda: "listening" in command.log.read_text(), "a worker that listens", command)
    return command


def held(scene: Scene, command: Command) -> list[int]:
    """The batches that a command's worker holds."""
    leases: dict[bytes, bytes] = {}
    for run in known_runs(scene.client):
        leases |= scene.client.hgetall(run_key(run, "leases"))
    return [int(batch) for batch, lease in leases.items() if f":{command.process.pid}:".encode() in lease]


def attempts_until_the_end(scene: Scene, command: Command) -> set[int]:
    """Every count of attempts that Redis has shown while a command ran."""
    seen: set[int] = set()
    while command.process.poll() is None:
        for run in known_runs(scene.client):
            seen.update(map(int, scene.client.hvals(run_key(run, "attempts"))))
        time.sleep(0.2)
    return seen


def everything(command: Command) -> list[psutil.Process]:
    return [*command.descendants(), psutil.Process(command.process.pid)]


def long_batch(scene: Scene) -> None:
    """A batch that takes five leases, and longer than the visibility timeout: nobody else begins it."""
    scene.corpus = write_corpus(scene.folder / "long.jsonl", 80)
    patient = {"NOOP_MICRO_BATCH": "1", "NOOP_PAUSE_S": str(LONG_S / 40), "PENSTOCK_VISIBILITY_TIMEOUT_S": "5"}
    other = worker(scene, **patient)
    arguments = [40 if word == 15 else word for word in scene.arguments("run")]
    command = scene.start(*arguments, "--broker", scene.url, **patient)
    assert attempts_until_the_end(scene, command) == {1}
    scene.ends_well(command)
    assert scene.attempts() == [1, 1]
    assert other.log.read_text().count("Part committed") == 1


def zombie(scene: Scene) -> None:
    """A worker is stopped in the middle of a batch; another takes it over. It comes back: its part does not count."""
    stopped = worker(scene, NOOP_PAUSE_S="1.0")
    command = scene.run()
    (batch,) = until(lambda: held(scene, stopped), "a batch in its hands", command)
    frozen = everything(stopped)
    for process in frozen:
        process.suspend()
    since = time.monotonic()
    (run,) = known_runs(scene.client)
    message = f'"{run}:{batch}"'.encode()
    until(lambda: any(message in entry for entry in scene.client.lrange(QUEUE_LIST, 0, -1)), "a new message", command)
    print(f"zombie: its batch is published again after {time.monotonic() - since:.1f} s")
    part = scene.out / "data" / f"part-{batch:08d}.parquet"
    until(part.exists, "somebody who takes the batch over", command)
    written = part.read_bytes()
    for process in frozen:
        process.resume()
    scene.ends_well(command)
    assert part.read_bytes() == written
    result = json.loads(command.log.read_text().splitlines()[-1])
    assert (result["documents"], result["rows"], result["parts"]) == (600, 600, BATCHES)


def vanished(scene: Scene) -> None:
    """A machine is gone with all its processes, without a word."""
    gone = worker(scene, NOOP_PAUSE_S="1.0")
    command = scene.run()
    until(lambda: held(scene, gone), "a batch in its hands", command)
    for process in everything(gone):
        process.suspend()
    scene.ends_well(command)


def idle_parent(scene: Scene) -> None:
    """The process that listens to the queue is wedged before it takes anything: it is started anew."""
    command = scene.run(PENSTOCK_PROCESS_START_TIMEOUT_S="20", PENSTOCK_WINDOW="4")
    command.worker_parent().suspend()
    until(lambda: "sits idle while work waits" in command.log.read_text(), "a watchdog's word", command)
    scene.ends_well(command)


def idle_child(scene: Scene) -> None:
    """The process that computes is wedged before it claims what it was given."""
    command = scene.run(PENSTOCK_PROCESS_START_TIMEOUT_S="20", PENSTOCK_WINDOW="4")
    command.worker_child().suspend()
    until(lambda: "it is killed" in command.log.read_text(), "a watchdog's word", command)
    scene.ends_well(command)


def slow_loading(scene: Scene) -> None:
    """A model of 9 s, and the child dies while it loads it and once more later: it gets its time again."""
    command = scene.run(include="chaos.slow_loading")
    command.worker_child().kill()
    scene.parts(3, command)
    command.worker_child().kill()
    scene.ends_well(command)


SCENES: dict[str, Play] = {
    "a long batch": long_batch,
    "a zombie": zombie,
    "a machine that vanishes": vanished,
    "an idle parent": idle_parent,
    "an idle child": idle_child,
    "slow loading": slow_loading,
}


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, thin_model: Path
) -> Iterator[Outcomes]:
    with played(selected(request, SCENES), tmp_path_factory.mktemp("leases"), thin_model) as outcomes:
        yield outcomes


@pytest.mark.parametrize("scene", SCENES)
def test_leases(outcomes: Outcomes, scene: str) -> None:
    outcomes[scene].result()
