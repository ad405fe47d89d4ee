"""Leading a run on a real Redis, with its worker in this process: to the seal, through losses, and no further."""

from __future__ import annotations

import shutil

import pyarrow.parquet as pq
import pytest
import redis
from celery import Celery
from integration.leading import MakeLeader, lead_until, work
from integration.open_runs import Run
from integration.worker_resources import WorkerResources, raising

from pipelines.errors import BatchError, CancelledError, RunError
from pipelines.parts.limit import Limit
from pipelines.parts.manifest import load_summary
from tasks import lead
from tasks.fleet import report_worker
from tasks.keys import QUEUE_LIST, run_key
from tasks.lead import Lead, LostLeadError

LIMIT = Limit.parse("1%")


def ids(run: Run) -> list[str]:
    return [str(value) for value in pq.read_table(run.store.root / "data").column("id").to_pylist()]


def test_a_run_is_led_to_its_seal(app: Celery, run: Run, worker: WorkerResources, leader_of: MakeLeader) -> None:
    leader = leader_of()
    lead_until(leader, run, app, Lead.COMPLETE)
    summary = leader.seal(LIMIT, {"redis_peak_bytes": 5})
    assert summary is not None
    assert (summary.state, summary.documents, summary.rows) == ("sealed", 300, 300)
    assert load_summary(run.store) == summary
    assert run.store.exists("_SUCCESS")
    assert ids(run) == [f"doc-{number}" for number in range(300)]
    leader.resign()
    kept = {run_key(run.document.run, "state").encode()}
    assert set(run.client.keys("penstock:run:*")) == kept


@pytest.mark.parametrize("plan", [True, False])
def test_a_run_whose_folder_was_removed_fails(run: Run, leader_of: MakeLeader, plan: bool) -> None:
    leader = leader_of(plan=plan)
    leader.step()
    shutil.rmtree(run.store.root)
    with pytest.raises(RunError, match=f"does not hold run {run.document.run} any more"):
        leader.step()
    leader.resign()
    assert run.ledger.state().state == "failed"
    assert not run.store.root.exists()


def test_a_redis_emptied_in_the_middle_costs_only_time(
    app: Celery, run: Run, worker: WorkerResources, leader_of: MakeLeader
) -> None:
    leader = leader_of()
    for _ in range(3):
        leader.step()
    work(app, run, 2)
    run.client.flushall()
    lead_until(leader, run, app, Lead.COMPLETE)
    summary = leader.seal(LIMIT)
    assert summary is not None
    assert (summary.state, summary.rows) == ("sealed", 300)


def test_messages_that_vanish_again_and_again_cost_only_time(
    app: Celery, run: Run, worker: WorkerResources, leader_of: MakeLeader
) -> None:
    leader = leader_of()
    for round_ in range(12):
        leader.step()
        work(app, run, round_ % 2)
        run.client.delete(QUEUE_LIST)
    lead_until(leader, run, app, Lead.COMPLETE)
    assert len(run.store.list("data")) == 10


def test_a_part_that_is_gone_after_all_is_made_again(
    app: Celery, run: Run, worker: WorkerResources, leader_of: MakeLeader
) -> None:
    leader = leader_of()
    lead_until(leader, run, app, Lead.COMPLETE)
    run.store.remove("data/part-00000003.parquet")
    assert leader.seal(LIMIT) is None
    lead_until(leader, run, app, Lead.COMPLETE)
    summary = leader.seal(LIMIT)
    assert summary is not None
    assert (summary.state, summary.rows) == ("sealed", 300)


def test_a_run_with_dead_letters_is_finished_but_not_sealed(
    app: Celery, run: Run, worker: WorkerResources, leader_of: MakeLeader
) -> None:
    worker.before = lambda batch, progress: raising(BatchError("always"))() if batch.number == 6 else None
    leader = leader_of()
    lead_until(leader, run, app, Lead.COMPLETE)
    summary = leader.seal(LIMIT)
    assert summary is not None
    assert (summary.state, summary.rows, summary.dead_letter_documents) == ("incomplete", 270, 30)
    assert not run.store.exists("_SUCCESS")
    assert run.ledger.state().state == "incomplete"

    worker.before = lambda *_: None
    run.ledger.open(str(run.store.root))
    again = leader_of("later")
    assert again.take(by_force=True)
    lead_until(again, run, app, Lead.COMPLETE)
    summary = again.seal(LIMIT)
    assert summary is not None
    assert (summary.state, summary.rows) == ("sealed", 300)


def test_who_leads_without_planning_waits_for_the_plan(
    app: Celery, run: Run, worker: WorkerResources, leader_of: MakeLeader
) -> None:
    planner = run.planner()
    batches = planner.fresh()
    planner.record([next(batches), next(batches)])
    steward = leader_of("steward", plan=False)
    lead_until(steward, run, app, Lead.FED)
    work(app, run)
    assert steward.step() is Lead.FED
    assert len(run.store.list("data")) == 2
    run.plan()
    steward.resign()
    lead_until(leader_of("planner"), run, app, Lead.COMPLETE)


def test_the_lead_is_taken_once_and_by_force_from_another(leader_of: MakeLeader) -> None:
    one, other = leader_of("one"), leader_of("other")
    assert one.take(by_force=False)
    assert not other.take(by_force=False)
    one.step()
    assert other.take(by_force=True)
    with pytest.raises(RunError, match="took over the lead"):
        one.step()
    one.resign()
    assert not leader_of("third").take(by_force=False)
    other.resign()
    assert leader_of("third").take(by_force=False)


def test_the_lead_runs_out_by_itself(run: Run, leader_of: MakeLeader, client: redis.Redis) -> None:
    leader_of().take(by_force=False)
    assert 0 < client.ttl(run_key(run.document.run, "leader")) <= lead.LEADER_LEASE_S


def test_only_by_force_is_a_lead_taken_back_that_ran_out(
    run: Run, leader_of: MakeLeader, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Late by more than its lease, a process cannot know who has led in between, and may be late as well."""
    key = run_key(run.document.run, "leader")
    steward, command = leader_of("steward"), leader_of("command")
    assert steward.take(by_force=False)
    client.delete(key)  # emptied, or run out a moment ago
    steward.step()
    assert command.take(by_force=True)
    client.delete(key)
    with monkeypatch.context() as context:
        context.setattr(lead, "LEADER_LEASE_S", 0)  # so long ago it was kept
        with pytest.raises(LostLeadError):
            steward.step()
    command.step()
    assert client.get(key) == b"command"


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [("cancelled", CancelledError, "was cancelled"), ("failed", RunError, "The model is another one.")],
)
def test_a_run_that_was_stopped_is_led_no_further(
    run: Run, leader_of: MakeLeader, state: str, error: type[RunError], message: str
) -> None:
    leader = leader_of()
    leader.step()
    run.ledger.set_state(state, "The model is another one.")
    with pytest.raises(error, match=message):
        leader.step()


def test_a_run_that_no_worker_can_do_fails_with_their_reason(
    run: Run, leader_of: MakeLeader, client: redis.Redis
) -> None:
    leader = leader_of()
    run.ledger.refuse("w1", "The folder is not visible.")
    leader.step()  # nobody lives who could do it: one may come
    report_worker(client, "w1", host="a", slot="cpu", device="cpu")
    report_worker(client, "w2", host="b", slot="cpu", device="cpu")
    leader.step()  # the other one can
    run.ledger.refuse("w2", "The folder is not visible.")
    with pytest.raises(RunError, match=r"The folder is not visible\."):
        leader.step()
    assert run.ledger.state().state == "failed"
