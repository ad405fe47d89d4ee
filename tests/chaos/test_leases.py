"""Leases: renewed by progress however long a batch takes, taken over when nobody gets on; zombies add no second row."""

from __future__ import annotations

import json
import time

import psutil
import pytest
from chaos.disturbance import Command, until
from chaos.scenes import BATCH_DOCUMENTS, BATCHES, LONG, Outcomes, Scene, scene, scenes_of, write_corpus

from tasks.keys import QUEUE_LIST, run_key
from tasks.ledger import known_runs

BATCH_S = 60 if LONG else 20
"""How long the long batch takes; its lease is 4 s and the visibility timeout 5 s."""


def worker(on: Scene, **environment: str) -> Command:
    """A worker on the scene's Redis, ready for messages."""
    command = on.start("worker", "--devices", "cpu", "--broker", on.url, **environment)
    until(lambda: "listening" in command.log.read_text(), "a worker that listens", command)
    return command


def held(on: Scene, command: Command) -> list[int]:
    """The batches that a command's worker holds."""
    leases: dict[bytes, bytes] = {}
    for run in known_runs(on.client):
        leases |= on.client.hgetall(run_key(run, "leases"))
    return [int(batch) for batch, lease in leases.items() if f":{command.process.pid}:".encode() in lease]


def attempts_until_the_end(on: Scene, command: Command) -> set[int]:
    """Every count of attempts that Redis has shown while a command ran."""
    seen: set[int] = set()
    while command.process.poll() is None:
        for run in known_runs(on.client):
            seen.update(map(int, on.client.hvals(run_key(run, "attempts"))))
        time.sleep(0.2)
    return seen


def everything(command: Command) -> list[psutil.Process]:
    return [*command.descendants(), psutil.Process(command.process.pid)]


@scene("a long batch")
def long_batch(on: Scene) -> None:
    """A batch that takes five leases, and longer than the visibility timeout: nobody else begins it."""
    on.corpus = write_corpus(on.folder / "long.jsonl", 80)
    patient = {"NOOP_MICRO_BATCH": "1", "NOOP_PAUSE_S": str(BATCH_S / 40), "PENSTOCK_VISIBILITY_TIMEOUT_S": "5"}
    other = worker(on, **patient)
    arguments = [40 if word == BATCH_DOCUMENTS else word for word in on.arguments("run")]
    command = on.start(*arguments, "--broker", on.url, **patient)
    assert attempts_until_the_end(on, command) == {1}
    on.ends_well(command)
    assert on.attempts() == [1, 1]
    assert other.log.read_text().count("Part committed") == 1


@scene("a zombie")
def zombie(on: Scene) -> None:
    """A worker is stopped in the middle of a batch; another takes it over. It comes back: its part does not count."""
    stopped = worker(on, NOOP_PAUSE_S="1.0")
    command = on.run()
    (batch,) = until(lambda: held(on, stopped), "a batch in its hands", command)
    frozen = everything(stopped)
    for process in frozen:
        process.suspend()
    since = time.monotonic()
    (run,) = known_runs(on.client)
    message = f'"{run}:{batch}"'.encode()
    until(lambda: any(message in entry for entry in on.client.lrange(QUEUE_LIST, 0, -1)), "a new message", command)
    print(f"zombie: its batch is published again after {time.monotonic() - since:.1f} s")
    part = on.out / "data" / f"part-{batch:08d}.parquet"
    until(part.exists, "somebody who takes the batch over", command)
    written = part.read_bytes()
    for process in frozen:
        process.resume()
    on.ends_well(command)
    assert part.read_bytes() == written
    result = json.loads(command.log.read_text().splitlines()[-1])
    assert (result["documents"], result["rows"], result["parts"]) == (600, 600, BATCHES)


@scene("a machine that vanishes")
def vanished(on: Scene) -> None:
    """A machine is gone with all its processes, without a word."""
    gone = worker(on, NOOP_PAUSE_S="1.0")
    command = on.run()
    until(lambda: held(on, gone), "a batch in its hands", command)
    for process in everything(gone):
        process.suspend()
    on.ends_well(command)


@scene("an idle parent")
def idle_parent(on: Scene) -> None:
    """The process that listens to the queue is wedged before it takes anything: it is started anew."""
    command = on.run(PENSTOCK_PROCESS_START_TIMEOUT_S="20", PENSTOCK_WINDOW="4")
    command.worker_parent().suspend()
    until(lambda: "sits idle while work waits" in command.log.read_text(), "a watchdog's word", command)
    on.ends_well(command)


@scene("an idle child")
def idle_child(on: Scene) -> None:
    """The process that computes is wedged before it claims what it was given."""
    command = on.run(PENSTOCK_PROCESS_START_TIMEOUT_S="20", PENSTOCK_WINDOW="4")
    command.worker_child().suspend()
    until(lambda: "it is killed" in command.log.read_text(), "a watchdog's word", command)
    on.ends_well(command)


@scene("slow loading")
def slow_loading(on: Scene) -> None:
    """A model of 9 s, and the child dies while it loads it and once more later: it gets its time again."""
    command = on.run(include="chaos.slow_loading")
    command.worker_child().kill()
    on.parts(3, command)
    command.worker_child().kill()
    on.ends_well(command)


@pytest.mark.parametrize("name", scenes_of(__name__))
def test_leases(outcomes: Outcomes, name: str) -> None:
    outcomes[name].result()
