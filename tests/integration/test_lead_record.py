"""What a leader takes from the run's folder and from nowhere else, and what it leaves there when it is interrupted."""

from __future__ import annotations

import pytest
from celery import Celery
from integration.leading import MakeLeader, lead_until
from integration.open_runs import Run
from integration.worker_resources import WorkerResources, raising

from pipelines.errors import BatchError, CancelledError
from pipelines.parts import manifest
from pipelines.parts.cancellation import put_cancellation
from pipelines.parts.dead_letter import forget_dead_letters
from pipelines.parts.limit import Limit
from pipelines.parts.listing import read_head
from pipelines.parts.store import Store
from tasks import lead
from tasks.keys import run_key
from tasks.lead import Lead

LIMIT = Limit.parse("1%")


@pytest.mark.parametrize("memory", ["emptied", "an older one"])
def test_a_cancelled_run_is_led_no_further_whatever_redis_forgets(run: Run, leader_of: MakeLeader, memory: str) -> None:
    leader = leader_of()
    leader.step()
    put_cancellation(run.store, run.document.run)
    run.ledger.set_state("cancelled")
    run.client.flushall()
    if memory == "an older one":
        run.ledger.open(str(run.store.root))
    with pytest.raises(CancelledError, match="was cancelled"):
        leader.step()
    assert run.ledger.state().state == "cancelled"
    assert not run.ledger.known() or memory == "an older one"


@pytest.mark.parametrize("cancelled", [True, False])
def test_into_a_redis_that_forgot_the_run_nothing_is_published_before_a_look(
    app: Celery,
    run: Run,
    worker: WorkerResources,
    leader_of: MakeLeader,
    monkeypatch: pytest.MonkeyPatch,
    cancelled: bool,
) -> None:
    """Emptied between two sweeps: whoever cancelled the run sees no leader there, and tidies up before it writes."""
    run.plan()
    leader = leader_of(plan=False)
    leader.step()
    assert run.in_flight() == [0, 1, 2, 3]
    if cancelled:
        put_cancellation(run.store, run.document.run)
    run.client.flushall()
    with monkeypatch.context() as context:
        context.setattr(lead, "SWEEP_INTERVAL_S", 1e9)
        assert leader.step() is Lead.WAITING
        assert run.client.keys("*") == []
        if cancelled:
            with pytest.raises(CancelledError, match="was cancelled"):
                leader.step()
            assert run.client.keys("*") == [run_key(run.document.run, "state").encode()]
            return
        leader.step()
        assert run.in_flight() == [0, 1, 2, 3]
    lead_until(leader, run, app, Lead.COMPLETE)
    assert len(run.store.list("data")) == 10


def test_a_dead_letter_is_none_where_only_redis_says_so(
    app: Celery, run: Run, worker: WorkerResources, leader_of: MakeLeader
) -> None:
    """Whoever can write to Redis would take batches out of the dataset, and words into its manifest."""
    leader = leader_of()
    dead = run_key(run.document.run, "dead")
    run.client.hset(dead, mapping={str(batch): "\x1b[31m" + "x" * 100_000 for batch in (0, 6, 77)})
    lead_until(leader, run, app, Lead.COMPLETE)
    run.client.hset(dead, mapping={"3": "later"})
    run.store.remove("data/part-00000003.parquet")
    assert leader.seal(LIMIT) is None
    lead_until(leader, run, app, Lead.COMPLETE)
    summary = leader.seal(LIMIT)
    assert summary is not None
    assert (summary.state, summary.rows) == ("sealed", 300)


def test_of_a_reason_in_the_manifest_nothing_is_redis_own(
    app: Celery, run: Run, worker: WorkerResources, leader_of: MakeLeader
) -> None:
    worker.before = lambda batch, progress: raising(BatchError("always"))() if batch.number == 6 else None
    leader = leader_of()
    lead_until(leader, run, app, Lead.COMPLETE)
    run.client.hset(run_key(run.document.run, "dead"), "6", "forged")
    assert leader.seal(LIMIT) is not None
    head = read_head(run.store)
    assert head is not None
    assert [(letter.batch, letter.reason) for letter in head.dead_letters] == [(6, "3 attempts failed")]
    forget_dead_letters(run.store, run.document.run)
    assert not [name for name in run.store.list("_tmp") if name.startswith("dead-")]


@pytest.mark.parametrize("calls", [3, 13])
def test_who_resigns_ends_the_seal_at_its_next_part(
    app: Celery, run: Run, worker: WorkerResources, leader_of: MakeLeader, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    """While it looks at the parts, or counts what is twice in them; the next leader seals."""
    leader = leader_of()
    lead_until(leader, run, app, Lead.COMPLETE)
    seen = []

    def slow(store: Store, batch: int) -> bool:
        seen.append(batch)
        if len(seen) == calls:
            leader._resigned.wait(60)
        return True

    with monkeypatch.context() as context:
        context.setattr(manifest, "is_committed", slow)
        assert leader.seal(LIMIT) is None
        leader.resign()
    assert len(seen) <= calls + 1
    assert not run.store.exists("_manifest.json")
    summary = leader_of("next").seal(LIMIT)
    assert summary is not None
    assert (summary.state, summary.rows) == ("sealed", 300)
