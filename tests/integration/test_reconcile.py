"""The reconciler on a real Redis: whatever was lost on the way is found and published again, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
import redis
from celery import Celery
from integration.open_runs import Run

from pipelines.errors import CorpusChangedError, RunError
from tasks import reconcile
from tasks.keys import EXTRACT_QUEUE, QUEUE_LIST, UNACKED_HASH
from tasks.ledger import Ledger
from tasks.reconcile import Reconciler

Commit = Callable[..., None]
NEVER_S, AT_ONCE_S = 1e9, -1.0


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default a message is never given up for lost; tests that wait for that say so."""
    monkeypatch.setattr(reconcile, "LOST_AFTER_S", NEVER_S)
    monkeypatch.setattr(reconcile, "HIDDEN_AFTER_S", NEVER_S)


@pytest.fixture
def reconciler(run: Run) -> Reconciler:
    """Of a run whose plan is complete and of which nothing is in flight yet."""
    run.plan()
    return Reconciler(run.store, run.planner(), run.ledger, run.publisher)


@pytest.fixture
def take(app: Celery) -> Iterator[Callable[[], int]]:
    """``take()``: receive a message as a worker does and never acknowledge it; gives the batch."""
    with app.connection_for_read() as connection:
        channel = connection.channel()
        queue = app.amqp.queues[EXTRACT_QUEUE].bind(channel)
        held = []

        def receive() -> int:
            message = queue.get()
            assert message is not None
            held.append(message)
            return int(message.headers["id"].rpartition(":")[2])

        yield receive
        for message in held:
            message.ack()


def messages(client: redis.Redis) -> list[int]:
    entries = client.lrange(QUEUE_LIST, 0, -1)
    return sorted(int(json.loads(entry)["headers"]["id"].rpartition(":")[2]) for entry in entries)


def lose_messages(client: redis.Redis) -> None:
    """As when a worker dies between receiving a message and noting that it has it."""
    client.delete(QUEUE_LIST)


def claim(run: Run, batch: int, *, lease_s: float = 60.0, owner: str = "w1") -> None:
    run.ledger.claim(batch, owner=owner, delivery=f"d-{owner}", lease_s=lease_s, max_attempts=3)


def test_what_waits_in_the_queue_is_left_there(
    run: Run, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "LOST_AFTER_S", AT_ONCE_S)
    run.publish(0, 1, 2)
    reconciler.sweep()
    assert messages(run.client) == [0, 1, 2]
    assert reconciler.republished == 0


def test_a_lost_message_is_sent_again_after_a_while(
    run: Run, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.publish(0, 1)
    lose_messages(run.client)
    for _ in range(3):
        reconciler.sweep()
    assert messages(run.client) == []
    monkeypatch.setattr(reconcile, "LOST_AFTER_S", AT_ONCE_S)
    reconciler.sweep()
    assert messages(run.client) == [0, 1]
    reconciler.sweep()
    assert messages(run.client) == [0, 1]
    assert reconciler.republished == 2


def test_a_message_that_was_only_out_of_sight_starts_its_time_anew(
    run: Run, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen missing, then claimed: the time for the next loss counts from the next time that it is missing."""
    run.publish(0)
    lose_messages(run.client)
    reconciler.sweep()
    assert set(reconciler._missing_since) == {0}
    claim(run, 0)
    reconciler.sweep()
    assert reconciler._missing_since == {}


def test_what_was_begun_goes_on_next(run: Run, reconciler: Reconciler, take: Callable[[], int]) -> None:
    """A batch whose worker died does not wait behind all that is in flight."""
    run.publish(0, 1, 2)
    assert take() == 0
    claim(run, 0)
    run.ledger.abandon("w1", uncount=True)
    reconciler.sweep()
    assert take() == 0


def test_what_a_worker_is_at_is_left_alone(
    run: Run, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch, take: Callable[[], int]
) -> None:
    monkeypatch.setattr(reconcile, "LOST_AFTER_S", AT_ONCE_S)
    monkeypatch.setattr(reconcile, "HIDDEN_AFTER_S", AT_ONCE_S)
    run.publish(0)
    assert take() == 0
    claim(run, 0)
    reconciler.sweep()
    assert messages(run.client) == []


def test_a_delivered_message_without_a_claim_is_waited_for_longer(
    run: Run, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch, take: Callable[[], int]
) -> None:
    """Its worker may be loading the model; a dead one's message stays hidden for the visibility timeout."""
    monkeypatch.setattr(reconcile, "LOST_AFTER_S", AT_ONCE_S)
    run.publish(0)
    assert take() == 0
    assert run.client.hlen(UNACKED_HASH) == 1
    reconciler.sweep()
    assert messages(run.client) == []
    monkeypatch.setattr(reconcile, "HIDDEN_AFTER_S", AT_ONCE_S)
    reconciler.sweep()
    assert messages(run.client) == [0]


def test_an_expired_lease_is_published_again_once(run: Run, reconciler: Reconciler, take: Callable[[], int]) -> None:
    run.publish(0)
    take()
    claim(run, 0, lease_s=0.0)
    reconciler.sweep()
    assert messages(run.client) == [0]
    reconciler.sweep()
    assert messages(run.client) == [0]
    take()
    reconciler.sweep()
    assert messages(run.client) == []  # a worker has it and is about to claim it


@pytest.mark.parametrize("hidden", [False, True])
def test_a_message_lost_after_its_lease_ran_out_is_found_too(
    run: Run, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch, take: Callable[[], int], hidden: bool
) -> None:
    """The old lease is still in the books when the second message goes the way of the first."""
    run.publish(0)
    take()
    claim(run, 0, lease_s=0.0)
    reconciler.sweep()
    if hidden:
        monkeypatch.setattr(reconcile, "HIDDEN_AFTER_S", AT_ONCE_S)
        assert take() == 0
    else:
        monkeypatch.setattr(reconcile, "LOST_AFTER_S", AT_ONCE_S)
        run.client.delete(UNACKED_HASH)
        lose_messages(run.client)
    reconciler.sweep()
    assert messages(run.client) == [0]


def test_what_was_handed_back_is_published_at_once(run: Run, reconciler: Reconciler, take: Callable[[], int]) -> None:
    run.publish(0, 1)
    take()
    claim(run, 0)
    run.ledger.release(0, delivery="d-w1", uncount=True)
    reconciler.sweep()
    assert messages(run.client) == [0, 1]
    assert not any(entry.due for entry in run.ledger.sweep()[1])


def test_a_dead_workers_batches_are_published_at_once(
    run: Run, reconciler: Reconciler, take: Callable[[], int]
) -> None:
    run.publish(0, 1)
    for batch in (take(), take()):
        claim(run, batch, owner=f"w{batch}")
    run.ledger.abandon("w1", uncount=False)
    reconciler.sweep()
    assert messages(run.client) == [1]


def test_a_body_that_is_gone_is_read_from_the_corpus_again(run: Run, reconciler: Reconciler) -> None:
    run.publish(4)
    before = run.bodies.get(4)
    run.bodies.drop(4)
    claim(run, 4)
    run.ledger.release(4, delivery="d-w1", uncount=True)
    lose_messages(run.client)
    reconciler.sweep()
    assert run.bodies.get(4) == before
    assert messages(run.client) == [4]


def test_a_body_that_cannot_be_read_again_ends_the_run_with_the_reason(run: Run, reconciler: Reconciler) -> None:
    run.publish(4)
    run.bodies.drop(4)
    claim(run, 4)
    run.ledger.release(4, delivery="d-w1", uncount=True)
    lose_messages(run.client)
    (run.store.root.parent / "corpus.jsonl").unlink()
    with pytest.raises(CorpusChangedError, match=r"corpus\.jsonl"):
        reconciler.sweep()


def test_a_committed_batch_is_closed_and_its_body_dropped(run: Run, reconciler: Reconciler, commit: Commit) -> None:
    """Its worker died between the commit and the close."""
    run.publish(0, 1)
    claim(run, 0, lease_s=0.0)
    commit(run, 0)
    reconciler.sweep()
    assert run.in_flight() == [1]
    assert (run.bodies.size(0), run.bodies.size(1) > 0) == (0, True)
    counts = run.ledger.state()
    assert (counts.batches, counts.documents, counts.rows, counts.tokens > 0) == (1, 30, 30, True)
    reconciler.sweep()
    assert run.ledger.state() == counts


def test_a_damaged_part_is_named(run: Run, reconciler: Reconciler, commit: Commit) -> None:
    run.publish(0)
    commit(run, 0)
    run.store.path("data/part-00000000.parquet").write_bytes(b"PAR1")
    with pytest.raises(RunError, match=r"part-00000000\.parquet is damaged"):
        reconciler.sweep()


def test_messages_of_other_runs_and_other_programs_are_none_of_its_business(
    run: Run, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.publish(0)
    lose_messages(run.client)
    run.app.send_task("penstock.extract_batch", args=("other", 0), task_id="other:0", queue=EXTRACT_QUEUE)
    run.app.send_task("somebody.elses", task_id="no-number", queue=EXTRACT_QUEUE)
    run.client.lpush(QUEUE_LIST, '{"body": "without headers"}', '"a text"', "[]", "no JSON")
    run.client.hset(UNACKED_HASH, mapping={"t1": "[]", "t2": "no JSON", "t3": '["a text", "", ""]'})
    reconciler.sweep()
    monkeypatch.setattr(reconcile, "LOST_AFTER_S", AT_ONCE_S)
    reconciler.sweep()
    assert reconciler.republished == 1
    assert run.client.llen(QUEUE_LIST) == 7


def test_other_runs_are_not_swept(run: Run, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "LOST_AFTER_S", AT_ONCE_S)
    other = Ledger(run.client, "other")
    other.open("/other")
    other.publish(0, 10)
    reconciler.sweep()
    assert messages(run.client) == []


def test_an_emptied_redis_is_for_the_feeder_to_fill(run: Run, reconciler: Reconciler) -> None:
    run.publish(0, 1)
    run.client.flushall()
    reconciler.sweep()
    assert run.client.keys("*") == []
