"""How runs end other than by a seal, and what they leave behind in Redis and for the next command."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from celery import Celery
from integration.open_runs import MakeSpec, Run
from integration.worker_resources import WorkerResources, attempts, deliver, parts, raising

from pipelines.errors import CorpusChangedError, SurroundingsError
from pipelines.inline import run_inline
from pipelines.parts.limit import Limit
from pipelines.parts.manifest import load_summary
from tasks import extract, lead
from tasks.feed import Window
from tasks.keys import QUEUE_LIST, run_key
from tasks.lead import Lead, Leader
from tasks.runs import open_run

MakeLeader = Callable[..., Leader]


@pytest.fixture
def leader(run: Run, monkeypatch: pytest.MonkeyPatch) -> Leader:
    monkeypatch.setattr(lead, "SWEEP_INTERVAL_S", 0.0)
    return Leader(run.app, run.client, run.store, run.document, Window(batches=4), owner="me", plan=True)


def keys(client: redis.Redis, run: str) -> set[str]:
    return {key.decode().rpartition(f"{run}:")[2] for key in client.scan_iter(f"penstock:run:{run}:*")}


def test_an_ended_run_leaves_its_state_only(run: Run, leader: Leader, client: redis.Redis) -> None:
    leader.take(by_force=True)
    while leader.step() is Lead.WORKING:
        pass
    assert len(keys(client, run.document.run)) > 6
    run.ledger.forget("cancelled", "enough")
    leader.resign()
    assert keys(client, run.document.run) == {"state"}
    assert client.ttl(run_key(run.document.run, "state")) > 0
    assert (run.ledger.state().state, run.ledger.state().message) == ("cancelled", "enough")


@pytest.mark.usefixtures("three_in_flight")
def test_a_message_that_outlived_its_run_is_dropped_at_once(
    app: Celery, run: Run, worker: WorkerResources, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.load_error = AssertionError("loaded a model for nothing")
    slept: list[float] = []
    monkeypatch.setattr(extract.time, "sleep", slept.append)
    for ending in ("cancelled", "failed", "paused"):
        run.ledger.forget(ending)
        deliver(app, run)
    run.client.flushall()
    deliver(app, run)
    assert slept == []
    assert parts(run) == []


@pytest.mark.usefixtures("three_in_flight")
def test_a_damaged_part_stops_the_run_and_is_named(app: Celery, run: Run, worker: WorkerResources) -> None:
    place = run.store.path("data/part-00000000.parquet")
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(b"")
    worker.before = raising(AssertionError("worked on"))
    deliver(app, run)
    state = run.ledger.state()
    assert state.state == "failed"
    assert "part-00000000.parquet is damaged" in state.message
    assert run.ledger.refusals() == {}


@pytest.mark.usefixtures("three_in_flight")
def test_a_damaged_body_is_read_from_the_corpus_again(app: Celery, run: Run, worker: WorkerResources) -> None:
    run.bodies.put(0, b"no body at all")
    deliver(app, run)
    assert (parts(run), attempts(run), run.bodies.get(0)) == ([], 1, None)
    run.publish(0)
    deliver(app, run)
    assert parts(run) == ["part-00000000.parquet"]


def test_a_sealed_run_stays_sealed_under_a_stricter_limit(run: Run, leader: Leader, small_corpus: Path) -> None:
    run_inline(run.store, run.document, limit=Limit.parse("1%"))
    leader.take(by_force=True)
    assert leader.step() in (Lead.WORKING, Lead.COMPLETE)
    summary = None
    while summary is None:
        summary = leader.seal(Limit.parse("0"))
    assert summary == load_summary(run.store)
    assert summary.state == "sealed"


def test_a_long_seal_keeps_its_lease(run: Run, leader: Leader, monkeypatch: pytest.MonkeyPatch) -> None:
    """The seal of a large run takes longer than the lease: the caller is given back control and steps on."""
    run_inline(run.store, run.document, limit=Limit.parse("1%"))
    (run.store.root / "_SUCCESS").unlink()
    really = lead.seal
    monkeypatch.setattr(lead, "SEAL_PATIENCE_S", 0.05)
    monkeypatch.setattr(lead, "seal", lambda *a, **k: (time.sleep(0.5), really(*a, **k))[1])
    leader.take(by_force=True)
    unfinished, summary = 0, None
    while summary is None:
        run.client.delete(run_key(run.document.run, "leader"))  # it ran out
        leader.step()
        assert run.client.get(run_key(run.document.run, "leader")) == b"me"
        summary = leader.seal(Limit.parse("1%"))
        unfinished += summary is None
    assert unfinished > 2
    assert summary.state == "sealed"


def test_a_full_redis_is_said_and_ends_a_run_that_it_starves(
    run: Run, leader: Leader, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = run.client.config_get("maxmemory")["maxmemory"]
    monkeypatch.setattr(lead, "FULL_PATIENCE_S", 0.2)
    try:
        used = int(run.client.info("memory")["used_memory"])
        run.client.config_set("maxmemory", int(used * 1.2))
        leader.take(by_force=True)
        assert leader.step() is Lead.WAITING
        assert "too much to publish more" in run.ledger.state().message
        time.sleep(0.3)
        with pytest.raises(SurroundingsError, match=r"raise maxmemory"):
            leader.step()
    finally:
        run.client.config_set("maxmemory", limit)


def test_an_entry_that_is_no_message_does_not_end_a_consumer(app: Celery, client: redis.Redis) -> None:
    client.lpush(QUEUE_LIST, b"\xff no json")
    client.lpush(QUEUE_LIST, b"{")
    with app.connection_for_read() as connection, connection.SimpleQueue("penstock.extract") as queue:
        app.send_task("penstock.extract_batch", args=("r", 1), queue="penstock.extract")
        assert queue.get(timeout=10).headers["task"] == "penstock.extract_batch"


def test_a_corpus_that_grows_while_it_is_read_is_not_sealed(run: Run, small_corpus: Path) -> None:
    planner = run.planner()
    for batch in planner.fresh():
        planner.record([batch])
        if batch.number == 8:
            with small_corpus.open("a") as file:
                file.write(json.dumps({"id": "late", "text": "too late"}) + "\n")
    with pytest.raises(CorpusChangedError, match=r"corpus\.jsonl"):
        planner.seal()
    assert planner.plan.totals() is None


def test_a_moved_corpus_is_read_where_it_is_now(
    run: Run, spec_of: MakeSpec, small_corpus: Path, tmp_path: Path
) -> None:
    run.plan()
    before = small_corpus.stat()
    moved = tmp_path / "elsewhere" / small_corpus.name
    moved.parent.mkdir()
    small_corpus.rename(moved)
    os.utime(moved, ns=(before.st_atime_ns, before.st_mtime_ns))
    spec = spec_of(moved)
    store, document = open_run(run.store.root, spec, arguments=[str(moved)], max_quarantined="1%", code_version="0")
    assert document.run == run.document.run
    assert run_inline(store, document, limit=Limit.parse("1%")).rows == 300
