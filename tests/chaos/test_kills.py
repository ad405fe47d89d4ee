"""Worker child, worker parent, feeder and Redis are killed in the middle; the rows are those of an undisturbed run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import redis
from chaos.disturbance import Command, assert_same_rows, until, until_parts

from worker.broker import EmbeddedRedis

Start = Callable[..., Command]


def test_killed_worker_children(start: Start, job: list[str], undisturbed: pa.Table, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = start("run", *job, "--out", out)
    for kill in range(3):
        until_parts(out, 4 * (kill + 1), command)
        command.worker_child().kill()
    assert command.wait() == 0, command.tail()
    assert_same_rows(out, undisturbed)


def test_killed_worker_parent(start: Start, job: list[str], undisturbed: pa.Table, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = start("run", *job, "--out", out)
    for kill in range(2):
        until_parts(out, 5 * (kill + 1), command)
        command.worker_parent().kill()
    assert command.wait() == 0, command.tail()
    assert_same_rows(out, undisturbed)


def test_killed_embedded_redis(start: Start, job: list[str], undisturbed: pa.Table, tmp_path: Path) -> None:
    """It comes back empty: all that it knew is found again from the plan and the parts."""
    out = tmp_path / "out"
    command = start("run", *job, "--out", out)
    for kill in range(2):
        until_parts(out, 5 * (kill + 1), command)
        command.redis().kill()
    assert command.wait() == 0, command.tail()
    assert_same_rows(out, undisturbed)


def test_killed_command_takes_everything_along_and_is_resumed(
    start: Start, job: list[str], undisturbed: pa.Table, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    # A window of two batches, so that the plan is not finished when the feeder dies.
    for parts in (2, 6):
        command = start("run", *job, "--out", out, PENSTOCK_WINDOW="2")
        until_parts(out, parts, command)
        descendants = command.descendants()
        command.process.kill()
        _, alive = psutil.wait_procs(descendants, timeout=10)
        assert not alive, f"outlived their command: {[process.cmdline() for process in alive]}"
    assert start("run", *job, "--out", out).wait() == 0
    assert_same_rows(out, undisturbed)


def test_killed_feeder_worker_and_broker_of_a_fleet(
    start: Start, job: list[str], undisturbed: pa.Table, tmp_path: Path, fresh_redis: EmbeddedRedis
) -> None:
    """Two machines' workers on one Redis: the feeder dies, one worker with all its processes dies, Redis dies."""
    out = tmp_path / "out"
    place: dict[str, Any] = {"PENSTOCK_BROKER_URL": fresh_redis.url}
    first, second = (start("worker", "--devices", "cpu", **place) for _ in range(2))
    feeder = start("submit", *job, "--out", out, PENSTOCK_WINDOW="4", **place)
    until_parts(out, 2, feeder)
    feeder.process.kill()
    until_parts(out, 4)  # what was published goes on without a feeder
    resumed = start("resume", out, "--devices", "cpu", PENSTOCK_WINDOW="4", **place)
    until_parts(out, 10, resumed)
    first.process.kill()
    until_parts(out, 14, resumed)
    fresh_redis.kill()
    fresh_redis.start()
    assert resumed.wait() == 0, resumed.tail()
    assert second.process.poll() is None, "a worker must outlive its Redis"
    assert_same_rows(out, undisturbed)


def test_a_flushed_redis_costs_time_only(
    start: Start, job: list[str], undisturbed: pa.Table, tmp_path: Path, fresh_redis: EmbeddedRedis
) -> None:
    out = tmp_path / "out"
    command = start("run", *job, "--out", out, "--broker", fresh_redis.url)
    until_parts(out, 5, command)
    with redis.Redis.from_url(fresh_redis.client_url) as client:
        client.flushall()
    assert command.wait() == 0, command.tail()
    assert_same_rows(out, undisturbed)


def test_workers_seal_a_run_whose_feeder_is_gone(
    start: Start, job: list[str], undisturbed: pa.Table, tmp_path: Path, fresh_redis: EmbeddedRedis
) -> None:
    """`submit` ends when all is published; some worker takes the lead, reconciles and seals."""
    out = tmp_path / "out"
    place: dict[str, Any] = {"PENSTOCK_BROKER_URL": fresh_redis.url}
    feeder = start("submit", *job, "--out", out, **place)
    assert feeder.wait() == 0, feeder.tail()
    assert not (out / "_SUCCESS").exists()
    worker = start("worker", "--devices", "cpu", **place)
    until_parts(out, 30, worker)
    until((out / "_SUCCESS").exists, "a seal", worker)
    assert_same_rows(out, undisturbed)
