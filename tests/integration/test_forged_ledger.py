"""Redis' own registers as somebody else may have left them: what cannot be a run or a worker is none."""

from __future__ import annotations

import json

import pytest
import redis
from celery import Celery
from integration.open_runs import Run
from integration.worker_resources import WorkerResources, deliver

from tasks.fleet import live_workers, report_worker
from tasks.keys import RUNS, WORKERS, run_key
from tasks.ledger import Ledger, known_runs
from tasks.reconcile import Reconciler

ODD = ["../../etc", "/etc", "", "..", ".x", "a:b", "a\nb", b"\xff", "r" * 129]


def test_what_cannot_be_a_run_is_none(client: redis.Redis) -> None:
    Ledger(client, "r1").open("/out")
    for name in ODD:
        client.hset(RUNS, name, "/out")
    client.hset(RUNS, "r2", b"/out\xff\x00")
    assert set(known_runs(client)) == {"r1", "r2"}


@pytest.mark.parametrize(
    "value", [b"", b"{", b"\xff", b"null", b"[]", b"7", b"[" * 100_000, json.dumps({"host": "h", "seen": {}}).encode()]
)
def test_what_is_no_report_of_a_worker_is_struck_off(client: redis.Redis, value: bytes) -> None:
    report_worker(client, "w1", host="h", slot="cpu:0", device="cpu")
    client.hset(WORKERS, b"odd\xff", value)
    assert [entry.owner for entry in live_workers(client)] == ["w1"]
    assert client.hlen(WORKERS) == 1


def forge(run: Run) -> None:
    """Whatever has a number or a name in the ledger of a run is none any more, beside what was there."""
    client, key = run.client, lambda part: run_key(run.document.run, part)
    for odd in ("abc", b"\xff", "-1", "1e3", "01", "777777"):
        client.zadd(key("open"), {odd: 1})
        client.sadd(key("due"), odd)
        client.hset(key("dead"), odd, "a reason")
        client.hset(key("sizes"), odd, "many")
    for number, lease in enumerate((b"", b"abc", b"x|w1|d", b"\xff|\xff|\xff", b"1")):
        client.hset(key("leases"), f"odd-{number}", lease)
    client.hset(key("leases"), "abc", "1|gone|d")
    client.hset(key("attempts"), "0", "abc")
    for name in ("batches", "documents", "rows", "quarantined", "tokens"):
        client.hset(key("state"), name, "lots")
    client.zadd(key("deaths"), {"abc": 4e9, b"\xff": 4e9})


@pytest.mark.usefixtures("three_in_flight")
def test_a_run_goes_on_around_what_is_no_batch(app: Celery, run: Run, worker: WorkerResources) -> None:
    forge(run)
    assert run.ledger.window()[0] >= 3
    assert run.ledger.state().rows == 0
    assert set(run.ledger.dead()) <= {777777}
    assert run.ledger.owners() >= {"gone"}
    assert run.ledger.holders() == set()
    assert run.ledger.abandon("gone", uncount=True) == []
    Reconciler(run.store, run.planner(), run.ledger, run.publisher).sweep()
    assert run.in_flight() == [0, 1, 2], "the sealed plan has ten batches"
    deliver(app, run)
    assert (run.ledger.state().batches, run.ledger.state().rows) == (1, 30)
    client = run.client
    client.zadd(run_key(run.document.run, "open"), {"abc": 1})
    run.ledger.forget("cancelled")


def test_what_a_growing_plan_does_not_have_is_left(run: Run) -> None:
    run.client.zadd(run_key(run.document.run, "open"), {"777777": 1})
    run.client.sadd(run_key(run.document.run, "due"), "777777")
    Reconciler(run.store, run.planner(), run.ledger, run.publisher).sweep()
    assert run.in_flight() == [777777]
