"""The ledger on a real Redis: every step counts once, however often and in whatever order it is called."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from tasks.keys import run_key
from tasks.ledger import Answer, Ledger, Verdict, known_runs

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


@pytest.mark.parametrize("state", ["cancelled", "failed", "paused", "incomplete", "sealed", ""])
def test_what_does_not_run_is_not_put_in_flight(ledger: Ledger, state: str) -> None:
    if state:
        ledger.set_state(state)
    else:
        ledger.client.flushall()
    assert not ledger.publish(1, 50)
    assert ledger.window() == ((1, 100) if state else (0, 0))


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


def test_a_batch_that_a_late_sweep_publishes_again_is_counted_once(ledger: Ledger) -> None:
    assert close(ledger)
    ledger.publish(0, 100)
    assert not close(ledger)
    assert ledger.window()[0] == 0
    assert (ledger.state().batches, ledger.state().documents) == (1, 10)
    ledger.open("/out")
    ledger.publish(0, 100)
    assert close(ledger)
    assert ledger.state().batches == 1


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


def test_of_what_a_dead_process_held_only_the_blamed_batch_pays_with_its_attempt(ledger: Ledger) -> None:
    ledger.publish(1, 100)
    for batch in (0, 1):
        claim(ledger, batch)
    assert sorted(ledger.abandon("w1", uncount=False, blamed=1)) == [0, 1]
    assert [claim(ledger, batch, delivery="d2").detail for batch in (0, 1)] == ["1", "2"]
