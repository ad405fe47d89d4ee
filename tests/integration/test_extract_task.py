"""The consumer in this process, on a real Redis, store and model: what each ending of an attempt leaves behind."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from celery import Celery
from integration.open_runs import MakeSpec, Run
from integration.worker_resources import WorkerResources, attempts, deliver, due, leased, parts, raising

from pipelines.documents import Batch
from pipelines.errors import InfrastructureError, InputError
from pipelines.extract import Progress
from pipelines.parts.cancellation import put_cancellation
from pipelines.parts.run_document import RunDocument
from pipelines.parts.sink import PartMeta, read_footer
from tasks import extract, job
from tasks.keys import EXTRACT_TASK
from tasks.ledger import Ledger
from tasks.runs import open_run

Commit = Callable[..., None]

pytestmark = pytest.mark.usefixtures("three_in_flight")


def test_a_batch_is_extracted_committed_and_closed(app: Celery, run: Run, worker: WorkerResources) -> None:
    deliver(app, run)
    footer = read_footer(run.store, 0)
    assert (footer.run, footer.batch, footer.count, footer.rows) == (run.document.run, 0, 30, 30)
    assert (footer.attempt, footer.slot, footer.device) == (1, "cpu:0", "cpu")
    assert footer.input_digest == run.planner().plan.entry(0).input_digest
    assert footer.peak_rss_bytes > 2**20
    ids = pq.read_table(run.store.path("data/part-00000000.parquet")).column("id").to_pylist()
    assert ids == [f"doc-{number}" for number in range(30)]
    counts = run.ledger.state()
    assert (counts.batches, counts.documents, counts.rows, counts.quarantined) == (1, 30, 30, 0)
    assert counts.tokens == footer.tokens_used
    assert (run.in_flight(), run.bodies.get(0), attempts(run)) == ([1, 2], None, 0)
    assert worker.marked == [(run.document.run, 0)]


def test_the_lease_is_held_and_renewed_while_at_work(app: Celery, run: Run, worker: WorkerResources) -> None:
    seen = []

    def watch(batch: Batch, progress: Progress) -> None:
        _, entries = run.ledger.sweep()
        seen.append({entry.batch: entry.lease_expiry for entry in entries}[0])
        assert attempts(run) == 1
        progress(1, 1)
        _, entries = run.ledger.sweep()
        seen.append({entry.batch: entry.lease_expiry for entry in entries}[0])

    worker.before = watch
    deliver(app, run)
    assert 0 < seen[0] < seen[1]


def test_however_quick_micro_batches_are_a_lease_is_renewed_now_and_then(
    app: Celery, run: Run, worker: WorkerResources, monkeypatch: pytest.MonkeyPatch
) -> None:
    renew, renewals, counts = Ledger.renew, [], []

    def counted(*arguments: Any, **more: Any) -> Any:
        renewals.append(1)
        return renew(*arguments, **more)

    def many(batch: Batch, progress: Progress) -> None:
        before = len(renewals)
        for _ in range(30):
            progress(1, 1)
        counts.append(len(renewals) - before)

    monkeypatch.setattr(Ledger, "renew", counted)
    monkeypatch.setattr(job, "RENEWAL_PAUSE_S", 60.0)
    monkeypatch.setattr(job, "RENEWALS", 1)
    worker.before = many
    deliver(app, run)
    monkeypatch.setattr(job, "RENEWAL_PAUSE_S", 0.0)
    deliver(app, run, 1)
    assert counts == [1, 30]


def test_the_task_ends_before_the_commit_and_the_batch_is_leased_until_it_is_closed(
    app: Celery, run: Run, worker: WorkerResources, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, commit = threading.Event(), extract.commit

    def slowly(*arguments: Any) -> Any:
        assert go.wait(60)
        return commit(*arguments)

    monkeypatch.setattr(extract, "commit", slowly)
    app.tasks[EXTRACT_TASK](run.document.run, 0)
    assert (leased(run), parts(run)) == ({0}, [])
    deliver_twice = threading.Thread(target=deliver, args=(app, run, 0))  # it is somebody's: nothing is done twice
    deliver_twice.start()
    go.set()
    deliver_twice.join()
    worker.write_behind.settle()
    assert (leased(run), len(parts(run)), run.in_flight()) == (set(), 1, [1, 2])
    assert (run.ledger.state().documents, attempts(run)) == (30, 0)


def test_a_commit_that_fails_behind_the_task_hands_the_batch_back_and_the_next_goes_on(
    app: Celery, run: Run, worker: WorkerResources, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = extract.commit

    def full(_: object, meta: PartMeta, *more: Any) -> Any:
        if meta.batch == 0:
            raise InfrastructureError("No space left on device.")
        return commit(run.store, meta, *more)

    monkeypatch.setattr(extract, "commit", full)
    for batch in (0, 1):
        app.tasks[EXTRACT_TASK](run.document.run, batch)
    worker.write_behind.settle()
    assert (due(run), attempts(run), len(parts(run)), run.in_flight()) == ({0}, 0, 1, [0, 2])


def test_what_is_committed_already_is_only_closed(
    app: Celery, run: Run, worker: WorkerResources, commit: Commit
) -> None:
    commit(run, 0)
    before = run.store.digest("data/part-00000000.parquet")
    worker.load_error = InputError("no model is needed for this")
    deliver(app, run)
    assert run.store.digest("data/part-00000000.parquet") == before
    assert run.in_flight() == [1, 2]
    assert run.bodies.get(0) is None
    assert run.ledger.state().documents == 30
    deliver(app, run)
    assert run.ledger.state().documents == 30


def test_a_second_message_while_the_first_is_at_work_does_nothing(
    app: Celery, run: Run, worker: WorkerResources
) -> None:
    def second(*_: object) -> None:
        worker.before = raising(AssertionError("worked twice"))
        deliver(app, run)
        assert leased(run) == {0}
        assert attempts(run) == 1

    worker.before = second
    deliver(app, run)
    assert len(parts(run)) == 1
    assert run.ledger.state().batches == 1


def test_a_body_that_is_gone_is_asked_for_without_using_an_attempt(
    app: Celery, run: Run, worker: WorkerResources
) -> None:
    run.bodies.drop(0)
    deliver(app, run)
    assert (due(run), leased(run), attempts(run), parts(run)) == ({0}, set(), 0, [])


@pytest.mark.parametrize("state", ["cancelled", "failed"])
def test_a_run_that_is_stopped_drops_the_batch_at_its_next_progress(
    app: Celery, run: Run, worker: WorkerResources, state: str
) -> None:
    worker.before = lambda *_: run.ledger.set_state(state)
    deliver(app, run)
    assert (parts(run), leased(run), attempts(run)) == ([], set(), 0)
    assert run.ledger.state().state == state
    run.ledger.open(str(run.store.root))
    worker.before = lambda *_: None
    deliver(app, run)
    assert len(parts(run)) == 1


def test_a_cancelled_run_is_dropped_though_redis_was_emptied(app: Celery, run: Run, worker: WorkerResources) -> None:
    def cancelled(*_: object) -> None:
        put_cancellation(run.store, run.document.run)
        run.client.flushall()

    worker.before = cancelled
    deliver(app, run)
    assert parts(run) == []


def test_a_cancelled_run_is_not_begun_though_redis_says_it_runs(app: Celery, run: Run, worker: WorkerResources) -> None:
    put_cancellation(run.store, run.document.run)
    worker.before = raising(AssertionError("begun"))
    deliver(app, run)
    assert (parts(run), attempts(run), leased(run)) == ([], 0, set())
    assert run.ledger.refusals() == {}


def test_who_lost_the_lease_drops_the_batch_and_leaves_it_to_the_other(
    app: Celery, run: Run, worker: WorkerResources
) -> None:
    worker.lease_s = 0.0

    def taken_over(*_: object) -> None:
        run.ledger.claim(0, owner="w2", delivery="d2", lease_s=60.0, max_attempts=3)

    worker.before = taken_over
    deliver(app, run)
    assert (parts(run), leased(run), due(run), attempts(run)) == ([], {0}, set(), 2)


def test_an_emptied_redis_does_not_stop_the_work(app: Celery, run: Run, worker: WorkerResources) -> None:
    worker.before = lambda *_: run.client.flushall()
    deliver(app, run)
    assert read_footer(run.store, 0).rows == 30
    assert run.client.keys("*") == []


@pytest.mark.parametrize("stranger", [False, True])
def test_of_two_attempts_at_once_one_makes_the_part(
    app: Celery, run: Run, worker: WorkerResources, commit: Commit, stranger: bool
) -> None:
    """The first is taken for dead while it works; the other one commits before it does."""
    worker.lease_s = 0.0

    def overtaken(*_: object) -> None:
        worker.before = lambda *_: None
        if stranger:  # by a worker that Redis does not know of
            commit(run, 0)
        else:
            deliver(app, run)

    worker.before = overtaken
    deliver(app, run)
    assert parts(run) == ["part-00000000.parquet"]
    assert read_footer(run.store, 0).attempt == (1 if stranger else 2)
    assert run.in_flight() == [1, 2]
    assert run.ledger.state().batches == 1
    assert not [name for name in run.store.list("_tmp") if name.startswith("temp-")]


def test_a_batch_closed_between_look_and_claim_is_left_closed(
    app: Celery, run: Run, worker: WorkerResources, commit: Commit, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = worker.extractor

    def overtaken(document: RunDocument) -> Any:
        monkeypatch.undo()
        commit(run, 0)
        deliver(app, run)
        return load(document)

    monkeypatch.setattr(worker, "extractor", overtaken)
    deliver(app, run)
    assert run.in_flight() == [1, 2]
    assert run.ledger.state().batches == 1


def test_rejects_go_to_the_quarantine_and_are_counted(
    app: Celery, run: Run, worker: WorkerResources, tmp_path: Path, spec_of: MakeSpec
) -> None:
    lines = ['{"text": "good"}', "no JSON", '{"text": ""}', json.dumps({"text": "good too", "n": 1})]
    corpus = tmp_path / "mixed.jsonl"
    corpus.write_text("\n".join(lines))
    store, document = open_run(
        tmp_path / "mixed", spec_of(corpus), arguments=["x"], max_quarantined="100%", code_version="1"
    )
    mixed = Run(app, run.client, store, document)
    mixed.ledger.open(str(store.root))
    mixed.plan()
    mixed.publish(0)
    worker.store, worker.document = store, document
    deliver(app, mixed)
    counts = mixed.ledger.state()
    assert (counts.documents, counts.rows, counts.quarantined) == (4, 2, 2)
    assert len(store.list("_quarantine")) == 1
