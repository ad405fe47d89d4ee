"""A worker's child died under a batch: suspicion narrows in the ledger, and too many deaths pause the run."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest
import redis
from celery import Celery
from integration.open_runs import Run
from integration.worker_resources import WorkerResources, attempts, deliver, due

from pipelines.documents import Reason
from pipelines.parts.quarantine import read_run
from pipelines.parts.sink import read_footer
from pipelines.suspicion import NO_SUSPICION
from tasks.deaths import BREAKER_BATCHES, BREAKER_OWNERS, Deaths
from tasks.ledger import Ledger

RUN = "0123456789abcdef"


@pytest.fixture
def ledger(client: redis.Redis) -> Ledger:
    ledger = Ledger(client, RUN)
    ledger.open("/dataset")
    return ledger


def take(ledger: Ledger, batch: int, owner: str) -> None:
    ledger.publish(batch, 10)
    ledger.claim(batch, owner=owner, delivery=f"{owner}-{batch}", lease_s=60, max_attempts=5)


def die(ledger: Ledger, batch: int, owner: str, *in_hand: int) -> None:
    take(ledger, batch, owner)
    Deaths(ledger).record(batch, owner, in_hand, Reason.CRASH, "signal 9")


def counted(ledger: Ledger, batch: int) -> int:
    return int(ledger.client.hget(f"penstock:run:{RUN}:attempts", str(batch)) or 0)


def test_a_first_death_counts_and_is_due_again(ledger: Ledger) -> None:
    die(ledger, 0, "w1", 4, 5)
    assert Deaths(ledger).suspicion(0).groups == ((4, 5),)
    assert counted(ledger, 0) == 1
    assert [entry.due for entry in ledger.sweep()[1]] == [True]


def test_narrowing_costs_no_attempt_and_a_verdict_wipes_the_slate(ledger: Ledger) -> None:
    die(ledger, 0, "w1", 4, 5)
    die(ledger, 0, "w1", 4, 5)
    assert Deaths(ledger).suspicion(0).groups == ((4,), (5,))
    assert counted(ledger, 0) == 1
    die(ledger, 0, "w1", 4)
    assert set(Deaths(ledger).suspicion(0).guilty) == {4}
    assert counted(ledger, 0) == 0


def test_closing_a_batch_forgets_its_suspicion(ledger: Ledger) -> None:
    die(ledger, 0, "w1", 4)
    ledger.close(0, documents=1, rows=1, quarantined=0, tokens=1)
    assert Deaths(ledger).suspicion(0) == NO_SUSPICION


def test_deaths_all_over_the_fleet_pause_the_run(ledger: Ledger) -> None:
    for number in range(BREAKER_OWNERS):
        assert ledger.state().state == "running"
        die(ledger, number, f"w{number}", number)
    state = ledger.state()
    assert state.state == "paused"
    assert "look for a broken model, driver or machine" in state.message


def test_one_machine_that_dies_at_every_batch_pauses_the_run(ledger: Ledger) -> None:
    for number in range(BREAKER_BATCHES):
        assert ledger.state().state == "running"
        die(ledger, number, "w1", number)
    assert ledger.state().state == "paused"


def test_deaths_that_a_document_explains_pause_nothing(ledger: Ledger) -> None:
    for number in range(2 * BREAKER_BATCHES):
        for _ in range(3):
            die(ledger, number, f"w{number}", 7)
        assert set(Deaths(ledger).suspicion(number).guilty) == {7}
    assert ledger.state().state == "running"


@pytest.mark.usefixtures("three_in_flight")
def test_the_guilty_are_quarantined_and_suspects_come_first(app: Celery, run: Run, worker: WorkerResources) -> None:
    for _ in range(3):
        run.ledger.claim(0, owner="w1", delivery="d", lease_s=60, max_attempts=9)
        Deaths(run.ledger).record(0, "w1", (3,), Reason.TIMEOUT, "It hung.")
    run.ledger.claim(0, owner="w1", delivery="d", lease_s=60, max_attempts=9)
    Deaths(run.ledger).record(0, "w1", (8, 9), Reason.CRASH, "signal 9")
    deliver(app, run)
    footer = read_footer(run.store, 0)
    assert (footer.rows, footer.rejects) == (29, 1)
    forwards = [documents for stage, documents in worker.taken if stage == "forward"]
    assert set(forwards[0]) == {8, 9}
    assert all(3 not in documents for _, documents in worker.taken)
    assert worker.taken[-1] == ("", ())
    ids = pq.read_table(run.store.path("data/part-00000000.parquet")).column("id").to_pylist()
    assert ids == [f"doc-{number}" for number in range(30) if number != 3]
    assert (attempts(run), due(run)) == (0, set())
    ((_, reject),) = [(batch, reject) for batch, reject in read_run(run.store) if batch == 0]
    assert (reject.id, reject.reason, reject.attempts, reject.detail) == ("doc-3", Reason.TIMEOUT, 3, "It hung.")
