"""The ledger on a real Redis: every step counts once, however often and in whatever order it is called."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.backoff import NoBackoff
from redis.retry import Retry

from pipelines.errors import InfrastructureError
from tasks.client import connect, memory_use
from tasks.keys import RUNS, WORKERS, run_key
from tasks.ledger import Answer, Ledger, Verdict, dismiss_worker, known_runs, live_workers, report_worker
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


def test_a_claim_counts_an_attempt_once_per_delivery(ledger: Ledger) -> None:
    assert claim(ledger) == Answer(Verdict.RUN, "1")
    assert claim(ledger) == Answer(Verdict.RUN, "1")
    ledger.release(0, delivery="d1", uncount=False)
    assert claim(ledger, delivery="d2") == Answer(Verdict.RUN, "2")


def test_a_leased_batch_is_left_to_its_worker(ledger: Ledger) -> None:
    claim(ledger)
    assert claim(ledger, delivery="d2", owner="w2") == Answer(Verdict.LEASED, "w1")
    assert claim(ledger, delivery="d1").verdict is Verdict.RUN


def test_of_many_claims_at_once_one_wins(ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: claim(ledger, delivery=f"d{n}", owner=f"w{n}"), range(40)))
    winners = [number for number, answer in enumerate(answers) if answer.verdict is Verdict.RUN]
    assert len(winners) == 1
    assert answers.count(Answer(Verdict.LEASED, f"w{winners[0]}")) == 39


def test_an_expired_lease_is_taken_over(ledger: Ledger) -> None:
    claim(ledger, lease_s=0)
    assert claim(ledger, delivery="d2", owner="w2") == Answer(Verdict.RUN, "2")
    assert ledger.renew(0, delivery="d1", lease_s=LEASE_S) == Answer(Verdict.LOST, "w2")
    ledger.release(0, delivery="d1", uncount=True)
    assert claim(ledger, delivery="d3") == Answer(Verdict.LEASED, "w2")
    assert close(ledger)


def test_who_lost_a_lease_may_still_commit(ledger: Ledger) -> None:
    claim(ledger, lease_s=0)
    claim(ledger, delivery="d2", owner="w2")
    assert close(ledger)
    assert not close(ledger)
    assert ledger.renew(0, delivery="d2", lease_s=LEASE_S) == Answer(Verdict.FORGOTTEN, "")
    ledger.release(0, delivery="d2", uncount=False)
    assert ledger.sweep()[1] == []
    assert ledger.state().batches == 1


def test_renewing_prolongs_a_lease_even_an_expired_one(ledger: Ledger) -> None:
    claim(ledger, lease_s=0)
    assert ledger.renew(0, delivery="d1", lease_s=LEASE_S) == Answer(Verdict.OK, "")
    assert claim(ledger, delivery="d2") == Answer(Verdict.LEASED, "w1")
    now, (entry,) = ledger.sweep()
    assert entry.lease_expiry > now


def test_attempts_run_out(ledger: Ledger) -> None:
    for attempt in (1, 2, 3):
        assert claim(ledger, delivery=f"d{attempt}", lease_s=0) == Answer(Verdict.RUN, str(attempt))
    for delivery in ("d4", "d5"):
        assert claim(ledger, delivery=delivery) == Answer(Verdict.EXHAUSTED, "3")
    ledger.bury(0, "3 attempts failed")
    assert claim(ledger, delivery="d6") == Answer(Verdict.DEAD, "0")
    assert ledger.dead() == {0: "3 attempts failed"}
    assert ledger.window() == (0, 0)


def test_attempts_given_back_do_not_run_out(ledger: Ledger) -> None:
    for number in range(10):
        assert claim(ledger, delivery=f"d{number}", most=1) == Answer(Verdict.RUN, "1")
        ledger.release(0, delivery=f"d{number}", uncount=True)
    claim(ledger, delivery="last", most=1)
    ledger.release(0, delivery="last", uncount=False)
    assert claim(ledger, delivery="more", most=1).verdict is Verdict.EXHAUSTED


def test_a_released_batch_is_due_until_it_is_published_or_claimed(ledger: Ledger) -> None:
    claim(ledger)
    ledger.release(0, delivery="d1", uncount=True)
    _, (entry,) = ledger.sweep()
    assert (entry.batch, entry.lease_expiry, entry.due) == (0, 0.0, True)
    ledger.publish(0, 100)
    assert not ledger.sweep()[1][0].due
    claim(ledger, delivery="d2")
    ledger.release(0, delivery="d2", uncount=True)
    claim(ledger, delivery="d3")
    assert not ledger.sweep()[1][0].due


def test_a_release_without_a_claim_touches_nobody_elses_lease(ledger: Ledger) -> None:
    """A worker that cannot do the run hands a second message back while another worker is at it."""
    claim(ledger)
    ledger.release(0, delivery="d2", uncount=True)
    assert ledger.renew(0, delivery="d1", lease_s=LEASE_S).verdict is Verdict.OK
    _, (entry,) = ledger.sweep()
    assert not entry.due
    assert claim(ledger, delivery="d1") == Answer(Verdict.RUN, "1")


def test_a_batch_that_was_never_claimed_can_be_handed_back(ledger: Ledger) -> None:
    ledger.release(0, delivery="d1", uncount=True)
    assert ledger.sweep()[1][0].due
    assert claim(ledger) == Answer(Verdict.RUN, "1")


def test_a_closed_batch_is_counted_once(ledger: Ledger) -> None:
    ledger.publish(1, 50)
    claim(ledger)
    assert ledger.window() == (2, 150)
    assert close(ledger)
    assert not close(ledger)
    counts = ledger.state()
    assert (counts.batches, counts.documents, counts.rows, counts.quarantined, counts.tokens) == (1, 10, 9, 1, 70)
    assert ledger.window() == (1, 50)


def test_a_late_message_does_not_open_a_closed_batch_again(ledger: Ledger) -> None:
    claim(ledger)
    close(ledger)
    assert claim(ledger, delivery="d2").verdict is Verdict.CLOSED
    ledger.release(0, delivery="d1", uncount=True)
    ledger.release(0, delivery="d2", uncount=False)
    assert ledger.sweep()[1] == []
    assert not close(ledger)
    assert ledger.state().batches == 1


@pytest.mark.parametrize("state", ["cancelled", "failed", "incomplete", "sealed"])
def test_a_run_that_is_over_gives_out_no_work(ledger: Ledger, state: str) -> None:
    ledger.publish(1, 50)
    claim(ledger)
    ledger.set_state(state, "why")
    assert claim(ledger, 1) == Answer(Verdict.STOPPED, state)
    assert ledger.renew(0, delivery="d1", lease_s=LEASE_S) == Answer(Verdict.STOPPED, state)
    assert (ledger.state().state, ledger.state().message) == (state, "why")
    ledger.release(0, delivery="d1", uncount=True)
    ledger.open("/out")
    assert ledger.state().message == ""
    assert claim(ledger, delivery="d2") == Answer(Verdict.RUN, "1")


def test_opening_again_gives_dead_letters_a_new_chance(ledger: Ledger) -> None:
    claim(ledger, most=1)
    ledger.release(0, delivery="d1", uncount=False)
    ledger.bury(0, "failed")
    ledger.refuse("w1", "no such folder")
    ledger.open("/out")
    ledger.publish(0, 100)
    assert (ledger.dead(), ledger.refusals()) == ({}, {})
    assert claim(ledger, delivery="d2", most=1) == Answer(Verdict.RUN, "1")


@pytest.mark.parametrize("uncount", [True, False])
def test_what_a_dead_worker_held_is_due_again(ledger: Ledger, uncount: bool) -> None:
    for batch in (1, 2):
        ledger.publish(batch, 50)
    claim(ledger, 0, owner="w1")
    claim(ledger, 1, owner="w2")
    claim(ledger, 2, owner="w1")
    assert sorted(ledger.abandon("w1", uncount=uncount)) == [0, 2]
    assert ledger.abandon("w1", uncount=uncount) == []
    assert {entry.batch: entry.due for entry in ledger.sweep()[1]} == {0: True, 1: False, 2: True}
    assert claim(ledger, 0, delivery="d2") == Answer(Verdict.RUN, "1" if uncount else "2")
    assert claim(ledger, 1, delivery="d2") == Answer(Verdict.LEASED, "w2")


def test_a_sweep_sees_the_whole_window_on_one_clock(ledger: Ledger) -> None:
    ledger.publish(1, 50)
    claim(ledger, 1, lease_s=30)
    now, entries = ledger.sweep()
    assert [entry.batch for entry in sorted(entries, key=lambda entry: entry.batch)] == [0, 1]
    for entry in entries:
        assert entry.published <= now + 0.001
    leased = next(entry for entry in entries if entry.batch == 1)
    assert leased.published < leased.lease_expiry <= now + 30.001


def test_publishing_again_replaces(ledger: Ledger) -> None:
    before = ledger.sweep()[1][0].published
    ledger.publish(0, 70)
    assert ledger.window() == (1, 70)
    assert ledger.sweep()[1][0].published > before


def test_an_ended_run_leaves_only_its_state_and_that_for_a_while(ledger: Ledger, client: redis.Redis) -> None:
    claim(ledger)
    ledger.bury(5, "why")
    ledger.refuse("w1", "no")
    assert ledger.known()
    assert known_runs(client) == {"r1": "/out"}
    close(ledger)
    ledger.forget("sealed")
    assert not ledger.known()
    assert client.keys("*") == [run_key("r1", "state").encode()]
    assert client.ttl(run_key("r1", "state")) > 0
    assert ledger.state().state == "sealed"
    assert ledger.state().batches == 1
    assert claim(ledger, delivery="late") == Answer(Verdict.STOPPED, "sealed")
    ledger.release(0, delivery="late", uncount=True)
    assert client.keys("*") == [run_key("r1", "state").encode()]


def test_an_emptied_redis_knows_nothing_and_stops_nobody(ledger: Ledger, client: redis.Redis) -> None:
    claim(ledger)
    client.flushall()
    assert not ledger.known()
    assert ledger.state().state == "unknown"
    assert ledger.renew(0, delivery="d1", lease_s=LEASE_S).verdict is Verdict.FORGOTTEN
    ledger.release(0, delivery="d1", uncount=True)
    assert not close(ledger)
    assert ledger.window() == (0, 0)


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


def test_live_workers_are_those_that_reported_lately(client: redis.Redis) -> None:
    report_worker(client, "w2", host="b", slot="gpu0", device="GPU-1")
    report_worker(client, "w1", host="a", slot="cpu:0", device="cpu")
    client.hset(WORKERS, "w0", '{"host": "a", "slot": "cpu:1", "device": "cpu", "seen": 1.0}')
    assert [worker.owner for worker in live_workers(client)] == ["w1", "w2"]
    assert set(client.hkeys(WORKERS)) == {b"w1", b"w2"}
    dismiss_worker(client, "w1")
    assert [(worker.owner, worker.device) for worker in live_workers(client)] == [("w2", "GPU-1")]


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


def test_the_known_runs_are_those_that_were_opened(client: redis.Redis) -> None:
    Ledger(client, "r1").open("/out/ü")
    assert known_runs(client) == {"r1": "/out/ü"}
    assert client.hget(RUNS, "r1") == "/out/ü".encode()
