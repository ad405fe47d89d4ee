"""A worker's child died under a batch: suspicion narrows in the ledger, and too many deaths pause the run."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import redis
from celery import Celery
from integration.open_runs import Run
from integration.worker_resources import WorkerResources, attempts, deliver, due

from pipelines.documents import Reason
from pipelines.parts.layout import TEMPORARY
from pipelines.parts.quarantine import read_run
from pipelines.parts.sink import read_footer
from pipelines.parts.store import Store
from pipelines.suspicion import NO_SUSPICION
from tasks.deaths import BREAKER_BARREN, BREAKER_BATCHES, BREAKER_OWNERS, Deaths
from tasks.ledger import Ledger

RUN = "0123456789abcdef"


@pytest.fixture
def ledger(client: redis.Redis) -> Ledger:
    ledger = Ledger(client, RUN)
    ledger.open("/dataset")
    return ledger


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def deaths(ledger: Ledger, store: Store) -> Deaths:
    return Deaths(ledger, store)


def take(ledger: Ledger, batch: int, owner: str) -> None:
    ledger.publish(batch, 10)
    ledger.claim(batch, owner=owner, delivery=f"{owner}-{batch}", lease_s=60, max_attempts=5)


def die(deaths: Deaths, batch: int, owner: str, *in_hand: int, barren: bool = False) -> None:
    take(deaths.ledger, batch, owner)
    deaths.record(batch, owner, in_hand, Reason.CRASH, "signal 9", barren=barren)


def close(deaths: Deaths, batch: int) -> None:
    """The batch has come through."""
    deaths.ledger.close(batch, documents=1, rows=1, quarantined=0, tokens=1)
    deaths.closed(batch)


def counted(ledger: Ledger, batch: int) -> int:
    return int(ledger.client.hget(f"penstock:run:{RUN}:attempts", str(batch)) or 0)


def test_a_first_death_counts_and_is_due_again(deaths: Deaths) -> None:
    die(deaths, 0, "w1", 4, 5)
    assert deaths.suspicion(0).groups == ((4,), (5,))
    assert counted(deaths.ledger, 0) == 1
    assert [entry.due for entry in deaths.ledger.sweep()[1]] == [True]


def test_narrowing_costs_no_attempt_and_a_verdict_wipes_the_slate(deaths: Deaths) -> None:
    die(deaths, 0, "w1", 4, 5)
    for _ in range(2):
        die(deaths, 0, "w1", 4)
        assert deaths.suspicion(0).groups == ((5,), (4,))
        assert counted(deaths.ledger, 0) == 1
    die(deaths, 0, "w1", 4)
    assert set(deaths.suspicion(0).guilty) == {4}
    assert counted(deaths.ledger, 0) == 0


def test_closing_a_batch_forgets_its_suspicion(deaths: Deaths, store: Store) -> None:
    die(deaths, 0, "w1", 4)
    assert store.list(TEMPORARY)
    close(deaths, 0)
    assert deaths.suspicion(0) == NO_SUSPICION
    assert not store.list(TEMPORARY)


def test_evidence_outlives_redis(deaths: Deaths, client: redis.Redis) -> None:
    die(deaths, 0, "w1", 4, 5)
    before = deaths.suspicion(0)
    client.flushall()
    assert deaths.suspicion(0) == before
    deaths.ledger.open("/dataset")
    die(deaths, 0, "w1", 4)
    assert deaths.suspicion(0).alone == {4: 1}


def test_what_redis_says_accuses_nobody(deaths: Deaths, client: redis.Redis) -> None:
    guilty = {"groups": [], "guilty": {"4": ["crash", "a stranger's", 3]}, "deaths": 3, "in_hand": {}, "alone": {}}
    client.hset(f"penstock:run:{RUN}:suspicions", "0", json.dumps(guilty))
    client.zadd(f"penstock:run:{RUN}:deaths", {"abc": 4e9, b"\xff": 4e9})
    assert deaths.suspicion(0) == NO_SUSPICION
    die(deaths, 0, "w1", 5)
    assert not deaths.suspicion(0).guilty


def test_a_death_at_a_batch_that_has_its_part_accuses_nobody(deaths: Deaths, store: Store) -> None:
    store.put_if_absent("data/part-00000000.parquet", b"made by another worker")
    die(deaths, 0, "w1", 4, 5)
    assert deaths.suspicion(0) == NO_SUSPICION


def test_a_worker_that_dies_with_its_child_costs_no_attempt(deaths: Deaths) -> None:
    for _ in range(20):
        take(deaths.ledger, 0, "w1")
        deaths.note(0, "w1", (4, 5), "killed")
    assert counted(deaths.ledger, 0) == 0
    assert deaths.suspicion(0).suspects == {4, 5}
    assert deaths.ledger.state().state == "running"


def test_deaths_without_a_culprit_all_over_the_fleet_pause_the_run(deaths: Deaths) -> None:
    """Three workers died at three batches, whose documents then came through: it was not the documents."""
    for number in range(BREAKER_OWNERS):
        die(deaths, number, f"host:{number}:cpu:0:1", number)
    for number in range(BREAKER_OWNERS):
        assert deaths.ledger.state().state == "running"
        close(deaths, number)
    state = deaths.ledger.state()
    assert state.state == "paused"
    assert "look for a broken model, driver or machine" in state.message


def test_a_worker_started_anew_is_no_other_worker(deaths: Deaths) -> None:
    for number in range(BREAKER_OWNERS):
        die(deaths, number, f"host:7:cpu:0:{number}", number)
        close(deaths, number)
    assert deaths.ledger.state().state == "running"


def test_deaths_at_other_documents_each_time_pause_the_run(deaths: Deaths) -> None:
    for number in range(BREAKER_OWNERS):
        assert deaths.ledger.state().state == "running"
        for document in range(2):
            die(deaths, number, f"host:{number}:cpu:0:1", document)
    assert deaths.ledger.state().state == "paused"


def test_one_machine_that_dies_at_every_batch_pauses_the_run(deaths: Deaths) -> None:
    for number in range(BREAKER_BATCHES):
        assert deaths.ledger.state().state == "running"
        die(deaths, number, "w1", number)
        close(deaths, number)
    assert deaths.ledger.state().state == "paused"


def test_workers_that_never_finish_a_micro_batch_pause_the_run(deaths: Deaths) -> None:
    """Whatever the batch, and even where the same documents die again: nobody computes anything any more."""
    for number in range(BREAKER_BARREN):
        assert deaths.ledger.state().state == "running"
        die(deaths, number % 2, "w1", 7, barren=True)
    assert deaths.ledger.state().state == "paused"


def test_whatever_is_computed_in_between_speaks_for_the_model(deaths: Deaths) -> None:
    for number in range(3 * BREAKER_BARREN):
        die(deaths, number // 3, "w1", 7, barren=number % 9 != 8)
        if number % 9 == 4:
            close(deaths, number // 3)
    assert deaths.ledger.state().state == "running"


def test_poison_all_over_the_corpus_pauses_nothing(deaths: Deaths) -> None:
    """First deaths everywhere at once, by many workers, before any of them is explained."""
    batches = range(2 * BREAKER_BATCHES)
    for death in range(3):
        for number in batches:
            die(deaths, number, f"host:{(number + death) % 8}:cpu:0:{death}", 7)
            assert deaths.ledger.state().state == "running"
    for number in batches:
        assert set(deaths.suspicion(number).guilty) == {7}
        close(deaths, number)
    assert deaths.ledger.state().state == "running"


@pytest.mark.usefixtures("three_in_flight")
def test_the_guilty_are_quarantined_and_suspects_come_first(app: Celery, run: Run, worker: WorkerResources) -> None:
    for _ in range(3):
        run.ledger.claim(0, owner="w1", delivery="d", lease_s=60, max_attempts=9)
        Deaths(run.ledger, run.store).record(0, "w1", (3,), Reason.TIMEOUT, "It hung.")
    run.ledger.claim(0, owner="w1", delivery="d", lease_s=60, max_attempts=9)
    Deaths(run.ledger, run.store).record(0, "w1", (8, 9), Reason.CRASH, "signal 9")
    deliver(app, run)
    footer = read_footer(run.store, 0)
    assert (footer.rows, footer.rejects) == (29, 1)
    forwards = [documents for stage, documents in worker.taken if stage == "forward"]
    assert forwards[:2] == [(8,), (9,)]
    assert all(3 not in documents for _, documents in worker.taken)
    assert worker.taken[-1] == ("", ())
    ids = pq.read_table(run.store.path("data/part-00000000.parquet")).column("id").to_pylist()
    assert ids == [f"doc-{number}" for number in range(30) if number != 3]
    assert (attempts(run), due(run)) == (0, set())
    ((_, reject),) = [(batch, reject) for batch, reject in read_run(run.store) if batch == 0]
    assert (reject.id, reject.reason, reject.attempts, reject.detail) == ("doc-3", Reason.TIMEOUT, 3, "It hung.")
