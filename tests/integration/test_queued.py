"""What a sweep sees of the queue, whoever writes there."""

from __future__ import annotations

import pytest
from integration.open_runs import Run

from tasks import queued, reconcile
from tasks.admission import MAX_MESSAGE_BYTES
from tasks.keys import QUEUE_LIST, UNACKED_HASH
from tasks.reconcile import Reconciler


@pytest.fixture
def reconciler(run: Run) -> Reconciler:
    """Of a run whose plan is complete and of which nothing is in flight yet."""
    run.plan()
    return Reconciler(run.store, run.planner(), run.ledger, run.publisher)


@pytest.mark.parametrize("key", [QUEUE_LIST, UNACKED_HASH])
def test_a_queue_full_of_other_messages_is_not_read_to_its_end(
    run: Run, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """What was not seen may be there: it is not sent again until all is read."""
    monkeypatch.setattr(reconcile, "LOST_AFTER_S", -1.0)
    monkeypatch.setattr(queued, "MOST_ENTRIES", 1000)
    run.publish(0)
    forged = [f'{{"id": "{run.document.run}:x{number}"}}' for number in range(3000)]
    if key == QUEUE_LIST:
        run.client.lpush(key, *forged)
    else:
        run.client.delete(QUEUE_LIST)
        run.client.hset(key, mapping={text: f"[{text}]" for text in forged})
    reads = run.client.info("commandstats")["cmdstat_evalsha"]["calls"]
    for _ in range(3):
        reconciler.sweep()
    assert run.client.info("commandstats")["cmdstat_evalsha"]["calls"] - reads < 20
    assert reconciler.republished == 0
    if key == QUEUE_LIST:
        run.client.ltrim(key, 0, 99)  # the last of all was ours
    else:
        run.client.hdel(key, *forged[100:])
    reconciler.sweep()
    assert reconciler.republished == 1


def test_an_entry_that_is_no_message_by_its_length_is_not_taken_for_one(
    run: Run, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "LOST_AFTER_S", -1.0)
    run.publish(0)
    (entry,) = run.client.lrange(QUEUE_LIST, 0, -1)
    run.client.delete(QUEUE_LIST)
    run.client.lpush(QUEUE_LIST, entry + b" " * MAX_MESSAGE_BYTES)  # no worker would take it either
    reconciler.sweep()
    assert reconciler.republished == 1
