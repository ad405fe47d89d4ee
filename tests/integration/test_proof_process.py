"""The process of a proof: what becomes of a run where it dies, takes too long, cannot begin, or finds something."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from celery import Celery
from integration.leading import MakeLeader, lead_until
from integration.open_runs import Run
from integration.worker_resources import WorkerResources

from pipelines.documents import Batch, Document
from pipelines.errors import UnfaithfulError
from pipelines.parts.layout import MANIFEST
from pipelines.parts.limit import Limit
from pipelines.parts.proof_record import Proof
from pipelines.proof.process import ProofOptions, Prover
from tasks.lead import Lead, Leader

PATIENCE_S = 120
LIMIT = Limit.parse("1%")


@pytest.fixture
def whole(run: Run, commit: Callable[..., None]) -> Run:
    """The run of ten batches with all its parts."""
    run.plan()
    commit(run, *range(10))
    return run


@contextlib.contextmanager
def proving(run: Run, *, documents: int = 2, timeout_s: float = PATIENCE_S) -> Iterator[Prover]:
    with contextlib.closing(Prover(run.store, run.document, ProofOptions(documents, timeout_s))) as prover:
        yield prover


def process_of(prover: Prover) -> psutil.Process:
    assert prover._process is not None
    return psutil.Process(prover._process.pid)


def wait(run: Run, prover: Prover) -> Proof:
    deadline = time.monotonic() + PATIENCE_S
    plan = run.planner().plan
    while (proof := prover.result(plan)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return proof


def test_it_begins_when_its_rows_are_there_and_says_how_far_they_are(run: Run, commit: Callable[..., None]) -> None:
    plan = run.planner().plan
    with proving(run, documents=3) as prover:
        prover.look(plan)
        run.plan()
        prover.look(plan)
        assert prover._process is None
        commit(run, *range(10))
        prover.look(plan)
        assert process_of(prover).is_running()
        proof = wait(run, prover)
    assert (proof.not_made, proof.documents) == ("", 3)
    assert proof.max_cosine_distance is not None
    assert proof.max_cosine_distance <= 1e-9
    assert proof.max_probability_difference is proof.label_flips is None


def test_killed_it_is_not_made_and_the_run_seals(
    whole: Run, leader_of: MakeLeader, caplog: pytest.LogCaptureFixture
) -> None:
    with proving(whole) as prover, caplog.at_level(logging.WARNING):
        prover.look(whole.planner().plan)
        process_of(prover).kill()
        proof = wait(whole, prover)
    assert proof.not_made == "its process ended with status -9"
    assert "The proof was not made: its process ended with status -9." in caplog.text


def test_it_ends_with_its_time_and_with_whoever_wanted_it(whole: Run) -> None:
    plan = whole.planner().plan
    with proving(whole, timeout_s=1e-9) as prover:
        prover.look(plan)
        process = process_of(prover)
        assert prover.result(plan) is None
        time.sleep(0.001)
        proof = prover.result(plan)
        assert proof is not None
        assert proof.not_made == "it took longer than 0 s"
        assert not process.is_running()
    with proving(whole) as prover:
        prover.look(plan)
        process = process_of(prover)
    assert not process.is_running()
    with proving(whole) as prover:
        prover.look(plan)
        assert prover._process is not None
        assert prover._process.stdin is not None
        prover._process.stdin.close()  # as where the command is killed
        assert prover._process.wait(PATIENCE_S) == 1


@pytest.mark.parametrize("lacking", ["model", "corpus"])
def test_without_its_surroundings_it_is_not_made(whole: Run, lacking: str, tmp_path: Path) -> None:
    spec = whole.document.spec
    if lacking == "model":
        nowhere = replace(spec.model, path=str(tmp_path / "nowhere"))
        spec = replace(spec, model=nowhere, features=tuple(replace(one, model=nowhere) for one in spec.features))
        whole.document = replace(whole.document, spec=spec)
    else:
        Path(spec.corpus.shards[0].uri).write_text("{}\n")
    with proving(whole) as prover:
        proof = wait(whole, prover)
    assert ("is not on this machine" if lacking == "model" else "is not what it was") in proof.not_made


def _lead_to_the_seal(leader: Leader, run: Run, app: Celery) -> None:
    lead_until(leader, run, app, Lead.COMPLETE)
    while leader.seal(LIMIT) is None:
        leader.step()


def test_a_leader_fails_a_run_that_is_not_what_the_model_gives(
    run: Run, app: Celery, worker: WorkerResources, leader_of: MakeLeader
) -> None:
    def upside_down(batch: Batch, _: object) -> None:
        batch.items[:] = [item._replace(text=item.text[::-1]) for item in batch.items if isinstance(item, Document)]

    worker.before = upside_down
    leader = leader_of(proof=ProofOptions(1, PATIENCE_S))
    with pytest.raises(UnfaithfulError, match=r"'doc-\d+' .* is of no document of its batch\..*--proof 0"):
        _lead_to_the_seal(leader, run, app)
    leader.resign()
    found = run.ledger.state()
    assert found.state == "failed"
    assert "is of no document of its batch" in found.message
    assert not run.store.exists(MANIFEST)
