"""The ledger where Redis is away, full or emptied, and steps that come in any order."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.backoff import NoBackoff
from redis.retry import Retry

from pipelines.errors import InfrastructureError
from tasks.client import connect, memory_use
from tasks.fleet import dismiss_worker, live_workers, report_worker
from tasks.keys import RUNS, WORKERS, run_key
from tasks.ledger import Answer, Ledger, Verdict, known_runs
from worker.broker import EmbeddedRedis

LEASE_S = 60.0


@pytest.fixture
def ledger(client: redis.Redis) -> Ledger:
    made = Ledger(client, "r1")
    made.open("/out")
    made.publish(0, 100)
    return made


def claim(
    ledger: Ledger, batch: int = 0, *, delivery: str = "d1", owner: str = "w1", lease_s: float = LEASE_S, most: int = 3
) -> Answer:
    return ledger.claim(batch, owner=owner, delivery=delivery, lease_s=lease_s, max_attempts=most)


def close(ledger: Ledger, batch: int = 0) -> bool:
    return ledger.close(batch, documents=10, rows=9, quarantined=1, tokens=70)


def test_an_emptied_redis_knows_nothing_and_stops_nobody(ledger: Ledger, client: redis.Redis) -> None:
    claim(ledger)
    client.flushall()
    assert not ledger.known()
    assert ledger.state().state == "unknown"
    assert ledger.renew(0, delivery="d1", lease_s=LEASE_S).verdict is Verdict.FORGOTTEN
    ledger.release(0, delivery="d1", uncount=True)
    assert not close(ledger)
    assert ledger.window() == (0, 0)


operations = st.lists(
    st.tuples(
        st.sampled_from(["publish", "claim", "expired", "renew", "close", "release", "uncount", "abandon", "bury"]),
        st.integers(0, 2),
        st.integers(0, 2),
    ),
    max_size=30,
)


@given(operations)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_in_any_order_a_batch_is_counted_once_and_nothing_is_left_behind(
    client: redis.Redis, steps: list[tuple[str, int, int]]
) -> None:
    client.flushall()
    ledger = Ledger(client, "r1")
    ledger.open("/out")
    closed: set[int] = set()
    for step, batch, who in steps:
        names = {"delivery": f"d{who}", "owner": f"w{who}"}
        if step == "publish" and batch not in closed:
            ledger.publish(batch, 10)
        elif step == "claim":
            claim(ledger, batch, **names)
        elif step == "expired":
            claim(ledger, batch, lease_s=0, **names)
        elif step == "renew":
            ledger.renew(batch, delivery=f"d{who}", lease_s=LEASE_S)
        elif step == "close" and close(ledger, batch):
            assert batch not in closed
            closed.add(batch)
        elif step in ("release", "uncount"):
            ledger.release(batch, delivery=f"d{who}", uncount=step == "uncount")
        elif step == "abandon":
            ledger.abandon(f"w{who}", uncount=False)
        elif step == "bury" and batch not in closed:
            ledger.bury(batch, "why")
    open_batches = set(client.zrange(run_key("r1", "open"), 0, -1))
    for part in ("sizes", "leases", "attempts"):
        assert set(client.hkeys(run_key("r1", part))) <= open_batches
    assert client.smembers(run_key("r1", "due")) <= open_batches
    assert open_batches.isdisjoint({str(batch).encode() for batch in closed})
    assert ledger.state().batches == len(closed)
    assert ledger.state().documents == 10 * len(closed)


CALLS: list[Callable[[Ledger], object]] = [
    lambda ledger: ledger.open("/out"),
    lambda ledger: ledger.publish(0, 1),
    claim,
    lambda ledger: ledger.renew(0, delivery="d1", lease_s=1),
    close,
    lambda ledger: ledger.release(0, delivery="d1", uncount=True),
    lambda ledger: ledger.bury(0, "why"),
    lambda ledger: ledger.abandon("w1", uncount=True),
    lambda ledger: ledger.sweep(),
    lambda ledger: ledger.window(),
    lambda ledger: ledger.dead(),
    lambda ledger: ledger.known(),
    lambda ledger: ledger.state(),
    lambda ledger: ledger.set_state("failed"),
    lambda ledger: ledger.refuse("w1", "why"),
    lambda ledger: ledger.refusals(),
    lambda ledger: ledger.forget("sealed"),
    lambda ledger: known_runs(ledger.client),
    lambda ledger: live_workers(ledger.client),
    lambda ledger: dismiss_worker(ledger.client, "w1"),
    lambda ledger: memory_use(ledger.client),
]


def test_a_redis_that_is_away_is_nobodys_fault(fresh_redis: EmbeddedRedis) -> None:
    retry = Retry(NoBackoff(), 0)
    with redis.Redis.from_url(fresh_redis.client_url, retry=retry) as at_once, connect(fresh_redis.client_url) as usual:
        Ledger(at_once, "r1").open("/out")
        fresh_redis.kill()
        for call in CALLS:
            with pytest.raises(InfrastructureError, match="Redis did not do what it was asked"):
                call(Ledger(at_once, "r1"))
        with pytest.raises(InfrastructureError):
            Ledger(usual, "r1").sweep()
        fresh_redis.start()
        assert Ledger(at_once, "r1").known()


def test_a_full_redis_refuses_new_work_but_lets_work_be_closed(client: redis.Redis, ledger: Ledger) -> None:
    claim(ledger)
    limit = client.config_get("maxmemory")["maxmemory"]
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(InfrastructureError, match="maxmemory"):
            ledger.publish(1, 100)
        assert ledger.window() == (1, 100)
        assert close(ledger)
    finally:
        client.config_set("maxmemory", limit)
    assert ledger.window() == (0, 0)
    assert ledger.state().batches == 1


def test_a_step_that_does_not_exist_is_an_error(ledger: Ledger) -> None:
    with pytest.raises(InfrastructureError, match="unknown step dance"):
        ledger._step("dance", 0)


def test_runs_do_not_see_each_other(ledger: Ledger, client: redis.Redis) -> None:
    other = Ledger(client, "r2")
    other.open("/other")
    other.publish(0, 7)
    claim(ledger)
    assert claim(other, owner="w2") == Answer(Verdict.RUN, "1")
    ledger.set_state("cancelled")
    assert close(other)
    assert ledger.window() == (1, 100)
    other.forget("sealed")
    assert known_runs(client) == {"r1": "/out"}


def test_live_workers_are_those_that_reported_lately(client: redis.Redis) -> None:
    report_worker(client, "w2", host="b", slot="gpu0", device="GPU-1")
    report_worker(client, "w1", host="a", slot="cpu:0", device="cpu")
    client.hset(WORKERS, "w0", '{"host": "a", "slot": "cpu:1", "device": "cpu", "seen": 1.0}')
    assert [worker.owner for worker in live_workers(client)] == ["w1", "w2"]
    assert set(client.hkeys(WORKERS)) == {b"w1", b"w2"}
    dismiss_worker(client, "w1")
    assert [(worker.owner, worker.device) for worker in live_workers(client)] == [("w2", "GPU-1")]


def test_the_known_runs_are_those_that_were_opened(client: redis.Redis) -> None:
    Ledger(client, "r1").open("/out/ü")
    assert known_runs(client) == {"r1": "/out/ü"}
    assert client.hget(RUNS, "r1") == "/out/ü".encode()
