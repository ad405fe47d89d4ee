"""Attempts that fail, on a real Redis, store and model: who is to blame decides what is left behind."""

from __future__ import annotations

import shutil

import pytest
import redis
from celery import Celery
from integration.open_runs import Run
from integration.worker_resources import LeftError, WorkerResources, attempts, deliver, due, leased, parts, raising

from pipelines.errors import (
    BatchError,
    DocumentError,
    InfrastructureError,
    InputError,
    ProcessError,
    RunError,
    SurroundingsError,
)
from pipelines.parts.sink import read_footer
from worker.broker import EmbeddedRedis

pytestmark = pytest.mark.usefixtures("three_in_flight")


@pytest.mark.parametrize(
    "error",
    [
        BatchError("the batch"),
        MemoryError("no memory"),
        RuntimeError("a bug"),
        DocumentError("a document"),
        ZeroDivisionError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_may_be_the_batchs_fault_uses_an_attempt(
    app: Celery, run: Run, worker: WorkerResources, error: Exception
) -> None:
    worker.before = raising(error)
    deliver(app, run)
    assert (due(run), leased(run), attempts(run)) == ({0}, set(), 1)
    assert run.ledger.state().state == "running"
    worker.before = lambda *_: None
    deliver(app, run)
    assert read_footer(run.store, 0).attempt == 2


def test_a_damaged_body_uses_an_attempt(app: Celery, run: Run, worker: WorkerResources) -> None:
    run.bodies.put(0, b"damaged")
    deliver(app, run)
    assert (due(run), attempts(run), parts(run)) == ({0}, 1, [])


def test_out_of_attempts_a_batch_becomes_a_dead_letter(app: Celery, run: Run, worker: WorkerResources) -> None:
    worker.before = raising(BatchError("always"))
    for attempt in (1, 2, 3):
        deliver(app, run)
        assert attempts(run) == attempt
        assert run.ledger.dead() == {}
    worker.before = raising(AssertionError("a fourth attempt"))
    deliver(app, run)
    assert run.ledger.dead() == {0: "3 attempts failed"}
    assert (run.in_flight(), run.bodies.get(0)) == ([1, 2], None)
    deliver(app, run)
    assert run.ledger.dead() == {0: "3 attempts failed"}
    deliver(app, run, 1)
    assert run.ledger.state().batches == 0
    worker.before = lambda *_: None
    deliver(app, run, 1)
    assert run.ledger.state().batches == 1


def test_a_fault_around_the_batch_uses_no_attempt(app: Celery, run: Run, worker: WorkerResources) -> None:
    worker.before = raising(InfrastructureError("the disk is full."))
    for _ in range(5):
        deliver(app, run)
    assert (due(run), leased(run), attempts(run)) == ({0}, set(), 0)
    assert run.ledger.state().state == "running"


def test_a_disk_that_takes_no_part_uses_no_attempt(app: Celery, run: Run, worker: WorkerResources) -> None:
    (run.store.root / "data").write_text("no folder")
    deliver(app, run)
    assert (due(run), leased(run), attempts(run)) == ({0}, set(), 0)
    (run.store.root / "data").unlink()
    deliver(app, run)
    assert len(parts(run)) == 1


def test_a_lost_device_ends_the_process_and_uses_no_attempt(app: Celery, run: Run, worker: WorkerResources) -> None:
    worker.before = raising(ProcessError("The device is lost."))
    with pytest.raises(LeftError):
        deliver(app, run)
    assert (due(run), leased(run), attempts(run)) == ({0}, set(), 0)


def test_a_device_lost_while_loading_ends_the_process(app: Celery, run: Run, worker: WorkerResources) -> None:
    worker.load_error = ProcessError("The device is lost.")
    with pytest.raises(LeftError):
        deliver(app, run)
    assert (attempts(run), run.ledger.refusals()) == (0, {})


def test_what_is_the_runs_fault_stops_the_run(app: Celery, run: Run, worker: WorkerResources) -> None:
    worker.before = raising(RunError("The model is another one.", "Put it back."))
    deliver(app, run)
    counts = run.ledger.state()
    assert (counts.state, counts.message) == ("failed", "The model is another one. Put it back.")
    assert (leased(run), attempts(run)) == (set(), 0)
    worker.before = raising(AssertionError("worked on"))
    deliver(app, run, 1)
    assert attempts(run, 1) == 0


@pytest.mark.parametrize("where", ["load_error", "run_error"])
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (SurroundingsError("A CPU does not compute float16.", "Open the run with another."), "A CPU does not"),
        (InputError("The model is gone."), "The model is gone."),
        (MemoryError(), "MemoryError"),
        (RuntimeError("CUDA out of memory"), "RuntimeError: CUDA out of memory"),
    ],
    ids=["surroundings", "input", "memory", "unforeseen"],
)
def test_a_worker_that_cannot_do_the_run_says_so_and_uses_no_attempt(
    app: Celery, run: Run, worker: WorkerResources, where: str, error: Exception, reason: str
) -> None:
    setattr(worker, where, error)
    deliver(app, run)
    assert reason in run.ledger.refusals()["w1"]
    assert "\n" not in run.ledger.refusals()["w1"]
    assert (due(run), leased(run), attempts(run)) == (set(), set(), 0)  # the sweeps miss it soon enough
    assert run.ledger.state().state == "running"
    setattr(worker, where, None)
    deliver(app, run)
    assert run.ledger.refusals() == {}, "it could do it after all"
    assert parts(run) == ["part-00000000.parquet"]


def test_a_refusal_leaves_another_workers_lease_alone(app: Celery, run: Run, worker: WorkerResources) -> None:
    run.ledger.claim(0, owner="w2", delivery="d2", lease_s=60.0, max_attempts=3)
    worker.load_error = InputError("not here")
    deliver(app, run)
    assert (due(run), leased(run), attempts(run)) == (set(), {0}, 1)


def test_a_redis_that_is_away_before_the_claim_changes_nothing(
    app: Celery, run: Run, worker: WorkerResources, fresh_redis: EmbeddedRedis
) -> None:
    fresh_redis.kill()
    with redis.Redis.from_url(fresh_redis.client_url) as dead:
        worker.client = dead
        worker.before = raising(AssertionError("worked without a claim"))
        deliver(app, run)
    assert (due(run), leased(run), attempts(run), parts(run)) == (set(), set(), 0, [])


def test_work_is_committed_though_redis_dies_in_the_middle(
    app: Celery, run: Run, worker: WorkerResources, fresh_redis: EmbeddedRedis
) -> None:
    with redis.Redis.from_url(fresh_redis.client_url, socket_timeout=2) as mortal:
        worker.client = mortal
        elsewhere = Run(app, mortal, run.store, run.document)
        elsewhere.ledger.open(str(run.store.root))
        elsewhere.publish(0)
        worker.before = lambda *_: fresh_redis.kill()
        deliver(app, run)
    assert read_footer(run.store, 0).rows == 30


def test_nothing_is_committed_into_a_folder_that_was_removed(app: Celery, run: Run, worker: WorkerResources) -> None:
    worker.before = lambda *_: shutil.rmtree(run.store.root)
    deliver(app, run)
    assert not run.store.root.exists()


def test_nothing_is_committed_into_a_folder_that_is_another_runs(
    app: Celery, run: Run, worker: WorkerResources
) -> None:
    worker.before = lambda *_: setattr(worker, "run_error", InputError("The folder belongs to another run."))
    deliver(app, run)
    assert parts(run) == []
    assert (run.ledger.state().state, attempts(run), leased(run)) == ("failed", 0, set())
