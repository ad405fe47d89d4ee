"""The runs that a worker command looks after on the side."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import redis
from integration.open_runs import MakeSpec, Run

from pipelines.parts.cancellation import put_cancellation, take_back_cancellation
from pipelines.parts.store import Store
from tasks import runs
from tasks.feed import Window
from tasks.ledger import Ledger, known_runs
from tasks.runs import open_run, status
from worker import service


@pytest.mark.parametrize("fault", ["unreadable", "gone"])
def test_a_folder_that_cannot_be_read_hides_no_other_run(
    run: Run, client: redis.Redis, spec_of: MakeSpec, small_corpus: Path, tmp_path: Path, fault: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    store, document = open_run(
        tmp_path / "too", spec_of(small_corpus), arguments=["c"], max_quarantined="1%", code_version="1"
    )
    Ledger(client, document.run).open(str(store.root))
    (_, folder), (good, _) = known_runs(client).items()  # in this order they are looked at
    if fault == "unreadable":
        (Path(folder) / "_run.json").unlink()
        (Path(folder) / "_run.json").mkdir()  # reading it fails, for root too
    else:
        looked = runs.is_locked

        def gone_now(store: Store) -> bool:
            if store.root == Path(folder):
                shutil.rmtree(folder)
            return looked(store)

        monkeypatch.setattr(service, "is_locked", gone_now)
    stewardship = service._Stewardship(run.app, client, Window(batches=4))
    stewardship.look()
    stewardship.resign()
    assert good in stewardship._leaders


def test_a_cancelled_run_is_not_taken_up_from_a_redis_that_fell_back(run: Run, client: redis.Redis) -> None:
    """Restored from a snapshot of before, it says that the run goes on, and has its messages again."""
    run.plan()
    run.publish(0)
    put_cancellation(run.store, run.document.run)
    stewardship = service._Stewardship(run.app, client, Window(batches=4))
    stewardship.look()
    assert stewardship._leaders == {}
    assert run.ledger.state().state == "cancelled"
    assert known_runs(client) == {}
    assert status(run.store, run.document, client).state == "cancelled"
    take_back_cancellation(run.store, run.document.run)
    run.ledger.open(str(run.store.root))
    stewardship.look()
    stewardship.resign()
    assert list(stewardship._leaders) == [run.document.run]


def test_a_folder_that_fails_under_its_leader_stops_no_other_run(
    run: Run, client: redis.Redis, spec_of: MakeSpec, small_corpus: Path, tmp_path: Path
) -> None:
    store, document = open_run(
        tmp_path / "too", spec_of(small_corpus), arguments=["c"], max_quarantined="1%", code_version="1"
    )
    Ledger(client, document.run).open(str(store.root))
    stewardship = service._Stewardship(run.app, client, Window(batches=4))
    stewardship.look()
    (_, first), (second, other) = stewardship._leaders.items()
    (first.store.root / "_plan").write_bytes(b"")  # listing it fails, for root too
    planned = Run(run.app, client, other.store, other.document)
    planned.plan()
    for _ in range(3):
        stewardship.step()
    assert planned.in_flight()
    assert set(stewardship._leaders) == {first.document.run, second}
    stewardship.resign()
