"""A run from the outside: whose folder it is, who holds it now, and how it stands."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from integration.open_runs import MakeSpec, Run

from pipelines.errors import CorpusChangedError, ForeignFolderError, InputError, PenstockError
from pipelines.parts.limit import Limit
from pipelines.parts.manifest import seal
from pipelines.parts.run_document import RunDocument
from pipelines.parts.store import Store
from pipelines.spec import RunSpec
from tasks.runs import LEFT_BEHIND_S, load_run, locked, open_run, status

Commit = Callable[..., None]


def opened(out: Path, spec: RunSpec, max_quarantined: str = "1%") -> tuple[Store, RunDocument]:
    return open_run(out, spec, arguments=["corpus.jsonl"], max_quarantined=max_quarantined, code_version="1")


def refused(wanted: type[PenstockError], out: Path, spec: RunSpec) -> str:
    with pytest.raises(wanted) as caught:
        opened(out, spec)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_new_folder_becomes_a_run(tmp_path: Path, small_corpus: Path, spec_of: MakeSpec) -> None:
    spec = spec_of(small_corpus)
    store, document = opened(tmp_path / "deep" / "out", spec, "3")
    assert document.spec == spec
    assert (document.fingerprint, document.max_quarantined) == (spec.fingerprint(), "3")
    assert document.corpus_arguments == ("corpus.jsonl",)
    assert load_run(tmp_path / "deep" / "out") == (store, document)


def test_the_same_spec_resumes_the_same_run(tmp_path: Path, small_corpus: Path, spec_of: MakeSpec) -> None:
    first = opened(tmp_path / "out", spec_of(small_corpus))
    assert opened(tmp_path / "out", spec_of(small_corpus), "50%") == first


def test_two_folders_are_two_runs(tmp_path: Path, small_corpus: Path, spec_of: MakeSpec) -> None:
    one, other = (opened(tmp_path / name, spec_of(small_corpus))[1] for name in ("a", "b"))
    assert one.run != other.run
    assert one.fingerprint == other.fingerprint


@pytest.mark.parametrize("left", ["_tmp/temp-0123", ""])
def test_an_empty_folder_will_do_even_if_a_killed_command_left_it(
    tmp_path: Path, small_corpus: Path, spec_of: MakeSpec, left: str
) -> None:
    (tmp_path / "out" / "_tmp").mkdir(parents=True)
    if left:
        (tmp_path / "out" / left).touch()
    opened(tmp_path / "out", spec_of(small_corpus))


def test_somebody_elses_folder_is_left_alone(tmp_path: Path, small_corpus: Path, spec_of: MakeSpec) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("dear")
    assert "not empty" in refused(ForeignFolderError, out, spec_of(small_corpus))
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]
    assert "is a file" in refused(ForeignFolderError, out / "thesis.txt", spec_of(small_corpus))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_documents": 31}, "batch_documents is 30, asked for was 31"),
        ({"max_tokens": 17}, "max_tokens is 16, asked for was 17"),
        ({"keep": ("number",)}, "keep"),
    ],
)
def test_another_spec_is_told_apart(
    tmp_path: Path, small_corpus: Path, spec_of: MakeSpec, options: dict[str, int], message: str
) -> None:
    opened(tmp_path / "out", spec_of(small_corpus))
    assert message in refused(ForeignFolderError, tmp_path / "out", spec_of(small_corpus, **options))


def test_another_corpus_is_told_apart(tmp_path: Path, small_corpus: Path, spec_of: MakeSpec) -> None:
    opened(tmp_path / "out", spec_of(small_corpus))
    other = shutil.copy(small_corpus, tmp_path / "other.jsonl")
    assert "corpus.jsonl" in refused(ForeignFolderError, tmp_path / "out", spec_of(Path(other)))
    elsewhere = tmp_path / "elsewhere" / "corpus.jsonl"
    elsewhere.parent.mkdir()
    elsewhere.write_text('{"text": "another one of the same name"}')
    assert str(elsewhere) in refused(ForeignFolderError, tmp_path / "out", spec_of(elsewhere))


def test_the_same_files_may_have_moved(tmp_path: Path, small_corpus: Path, spec_of: MakeSpec) -> None:
    _, document = opened(tmp_path / "out", spec_of(small_corpus))
    (tmp_path / "elsewhere").mkdir()
    moved = Path(shutil.move(small_corpus, tmp_path / "elsewhere" / "corpus.jsonl"))
    assert opened(tmp_path / "out", spec_of(moved))[1].run == document.run


@pytest.mark.parametrize("how", ["longer", "touched"])
def test_a_changed_corpus_is_named(tmp_path: Path, small_corpus: Path, spec_of: MakeSpec, how: str) -> None:
    opened(tmp_path / "out", spec_of(small_corpus))
    if how == "longer":
        small_corpus.write_bytes(small_corpus.read_bytes() + b'{"text": "more"}\n')
    else:
        os.utime(small_corpus, (1, 1))
    assert str(small_corpus) in refused(CorpusChangedError, tmp_path / "out", spec_of(small_corpus))


def test_a_folder_without_a_run_cannot_be_loaded(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError, match="holds no run of penstock"):
            load_run(place)
    assert not (tmp_path / "absent").exists()


def test_what_killed_writers_left_a_day_ago_is_swept(run: Run) -> None:
    old, new = run.store.new_temporary(), run.store.new_temporary()
    for path in (old, new):
        path.touch()
    yesterday = time.time() - LEFT_BEHIND_S - 1
    os.utime(old, (yesterday, yesterday))
    with locked(run.store, command="resume", broker_url=None):
        assert not old.exists()
        assert new.exists()


def test_a_run_passes_through_its_states(run: Run, client: redis.Redis, commit: Commit) -> None:
    def state(connection: redis.Redis | None = client) -> str:
        return status(run.store, run.document, connection).state

    assert (state(), state(None)) == ("running", "interrupted")
    with locked(run.store, command="run", broker_url=None):
        assert state(None) == "running"
    run.ledger.set_state("failed", "The model is another one.")
    assert state() == "failed"
    run.ledger.set_state("cancelled")
    assert state() == "cancelled"
    client.flushall()
    assert state() == "interrupted"
    run.ledger.open(str(run.store.root))
    run.plan()
    commit(run, *range(10))
    seal(run.store, run.document, max_quarantined=Limit.parse("1%"), dead={})
    assert (state(), state(None)) == ("sealed", "sealed")


def test_the_status_counts_what_is_planned_and_committed(run: Run, client: redis.Redis, commit: Commit) -> None:
    planner = run.planner()
    batches = planner.fresh()
    planner.record([next(batches), next(batches), next(batches)])
    found = status(run.store, run.document, client)
    assert (found.planned, found.committed, found.documents_planned) == (3, 0, None)
    assert (found.live, found.summary) == (False, None)
    run.plan()
    commit(run, 1, 2)
    run.publish(0)
    run.ledger.claim(0, owner="w", delivery="d", lease_s=60, max_attempts=3)
    run.ledger.close(0, documents=30, rows=29, quarantined=1, tokens=400)
    found = status(run.store, run.document, client)
    assert (found.planned, found.committed, found.documents_planned) == (10, 2, 300)
    assert found.ledger is not None
    assert (found.ledger.batches, found.ledger.rows, found.ledger.quarantined) == (1, 29, 1)


def test_an_incomplete_run_says_so(run: Run, client: redis.Redis, commit: Commit) -> None:
    run.plan()
    commit(run, *range(9))
    run.ledger.bury(9, "3 attempts failed")
    summary = seal(run.store, run.document, max_quarantined=Limit.parse("1%"), dead=run.ledger.dead())
    assert summary.state == "incomplete"
    run.ledger.set_state(summary.state)
    assert status(run.store, run.document, client).state == "incomplete"
    client.flushall()
    found = status(run.store, run.document, client)
    assert found.state == "incomplete"
    assert found.summary is not None
    assert found.summary.dead_letter_documents == 30


def test_the_folder_says_what_was_asked_for(run: Run) -> None:
    value = json.loads((run.store.root / "_run.json").read_bytes())
    assert value["run"] == run.document.run
    assert Path(value["spec"]["corpus"]["shards"][0]["uri"]).is_absolute()
    assert Path(value["spec"]["model"]["path"]).is_absolute()
