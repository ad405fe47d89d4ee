"""What is in quarantine gets another attempt; the dataset is then that of a run in which nothing had gone wrong."""

from __future__ import annotations

import errno
import functools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chaos.disturbance import rows
from unit.poisoned import ALL, BROKEN, CRASH, MEMORY, PLUGH, XYZZY, poisoned, poisoned_run, write_corpus

from pipelines.documents import Reason, Reject, Stage
from pipelines.errors import CorpusChangedError, InfrastructureError, InputError, UsageError, VerificationError
from pipelines.inline import run_inline
from pipelines.parts.footer import read_footer
from pipelines.parts.listing import load_summary
from pipelines.parts.manifest import seal
from pipelines.parts.proof_record import Proof
from pipelines.parts.quarantine import read_run
from pipelines.parts.run_document import RunDocument
from pipelines.parts.store import Store
from pipelines.parts.summary import Summary
from pipelines.parts.verify import verify
from pipelines.replay import Replayed, replay
from tasks.runs import load_run, status


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "corpus.jsonl")


@pytest.fixture(scope="module")
def clean(corpus: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return poisoned_run(tmp_path_factory.mktemp("clean") / "out", corpus, tiny_model)[0]


@pytest.fixture(scope="module")
def template(corpus: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return poisoned_run(tmp_path_factory.mktemp("template") / "out", corpus, tiny_model, CRASH, MEMORY)[0].root


@pytest.fixture
def run(template: Path, tmp_path: Path) -> tuple[Store, RunDocument]:
    """A sealed run of 60 documents of which 18 are in quarantine."""
    shutil.copytree(template, tmp_path / "out")
    return load_run(tmp_path / "out")


def summary_of(store: Store) -> Summary:
    summary = load_summary(store)
    assert summary is not None
    return summary


def rejects(store: Store) -> list[Reject]:
    return [reject for _, reject in read_run(store) if reject.stage is not Stage.WARNING]


def files(store: Store) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in store.root.rglob("*") if path.is_file()}


def test_the_result_is_that_of_a_clean_run(run: tuple[Store, RunDocument], clean: Store) -> None:
    store, document = run
    before = {row["id"]: row["embedding"] for row in rows(store.root).to_pylist() if row["id"] != "doc-25"}
    assert summary_of(store).duplicate_ids == 0
    seen: list[tuple[int, int | None]] = []
    done = replay(store, document, on_part=lambda documents, _, total: seen.append((documents, total)))
    assert done == Replayed(documents=16, recovered=16, parts=4)
    assert seen == [(3, 16), (2, 16), (1, 16), (10, 16)]
    found, expected = rows(store.root), rows(clean.root)
    assert found.drop(["embedding"]).equals(expected.drop(["embedding"]))
    ours, theirs = (np.array(table["embedding"].to_pylist(), np.float32) for table in (found, expected))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    for row in found.to_pylist():
        if row["id"] in before:
            assert row["embedding"] == before[row["id"]]
    assert list(read_run(store)) == list(read_run(clean))
    assert verify(store) == []
    ours_summary, theirs_summary = summary_of(store), summary_of(clean)
    for name in ("rows", "quarantined", "quarantined_by_reason", "duplicate_ids", "tokens", "tokens_used", "truncated",
                 "warnings", "documents", "parts"):  # fmt: skip
        assert getattr(ours_summary, name) == getattr(theirs_summary, name), name
    assert (ours_summary.state, ours_summary.generation, ours_summary.duplicate_ids) == ("sealed", 2, 1)
    assert {path.name for path in store.root.iterdir()} == {path.name for path in clean.root.iterdir()}


def test_what_fails_again_stays_with_one_more_attempt(run: tuple[Store, RunDocument]) -> None:
    store, document = run
    for attempts in (1, 2):
        with poisoned(CRASH):
            assert replay(store, document, reason=Reason.CRASH) == Replayed(13, 0, 3)
        assert verify(store) == []
        assert summary_of(store).generation == 1 + attempts
        by_reason = {reason: [r for r in rejects(store) if r.reason == reason] for reason in Reason}
        assert [reject.attempts for reject in by_reason[Reason.CRASH]] == [attempts] * len(PLUGH)
        assert [reject.attempts for reject in by_reason[Reason.OUT_OF_MEMORY]] == [0] * len(XYZZY)
        assert [reject.line - 1 for reject in (r.origin for r in rejects(store))] == sorted([*PLUGH, *XYZZY, *BROKEN])
    assert replay(store, document) == Replayed(16, 16, 4)
    assert [reject.reason for reject in rejects(store)] == [Reason.BAD_JSON] * 2
    assert verify(store) == []


def test_only_the_chosen_reason_is_tried(run: tuple[Store, RunDocument]) -> None:
    store, document = run
    assert replay(store, document, reason=Reason.OUT_OF_MEMORY) == Replayed(3, 3, 3)
    assert summary_of(store).quarantined_by_reason == {"bad_json": 2, "crash": 13}
    assert verify(store) == []
    assert [read_footer(store, batch).generation for batch in range(6)] == [2, 1, 2, 2, 1, 1]


@pytest.mark.parametrize("reason", [Reason.BAD_JSON, Reason.DAMAGED_FILE, Reason.KEPT_VALUE])
def test_what_reading_rejected_is_not_tried(run: tuple[Store, RunDocument], reason: Reason) -> None:
    before = files(run[0])
    with pytest.raises(UsageError, match="the corpus of a run does not change"):
        replay(*run, reason=reason)
    assert files(run[0]) == before


def test_without_anything_to_try_nothing_is_written(run: tuple[Store, RunDocument], clean: Store) -> None:
    for store, document, reason in ((run[0], run[1], Reason.TIMEOUT), (*load_run(clean.root), None)):
        before = files(store)
        assert replay(store, document, reason=reason) == Replayed(0, 0, 0)
        assert files(store) == before


def test_a_run_must_be_finished_first(run: tuple[Store, RunDocument]) -> None:
    store, document = run
    store.remove("_SUCCESS")
    store.remove("_manifest.json")
    with pytest.raises(InputError, match="not finished"):
        replay(store, document)


def test_another_corpus_is_refused_before_anything_is_written(run: tuple[Store, RunDocument], tmp_path: Path) -> None:
    store, document = run
    (shard,) = document.spec.corpus.shards
    gone = replace(document.spec.corpus, shards=(replace(shard, mtime_ns=shard.mtime_ns + 1),))
    before = files(store)
    with pytest.raises(CorpusChangedError):
        replay(store, replace(document, spec=replace(document.spec, corpus=gone)))
    assert files(store) == before


def test_a_corpus_that_changes_meanwhile_leaves_a_sealed_dataset(tiny_model: Path, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl")
    store, document = poisoned_run(tmp_path / "out", corpus, tiny_model, CRASH, MEMORY)

    def change(*_: object) -> None:
        corpus.write_bytes(corpus.read_bytes().replace(b"xyzzy", b"xyzzi"))

    with pytest.raises(CorpusChangedError):
        replay(store, document, on_part=change)
    assert verify(store) == []
    summary = summary_of(store)
    assert (summary.state, summary.quarantined, summary.generation) == ("sealed", 15, 2)


@pytest.mark.parametrize("name", ["data/part-00000000.parquet", "quarantine"])
def test_damage_is_not_given_a_new_digest(run: tuple[Store, RunDocument], name: str) -> None:
    store, document = run
    path = store.path(read_footer(store, 0).quarantine if name == "quarantine" else name)
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    before = files(store)
    with pytest.raises(VerificationError, match="part-00000000"):
        replay(store, document)
    assert files(store) == before


def test_dead_letters_stay_and_resume_gives_them_new_attempts(run: tuple[Store, RunDocument], clean: Store) -> None:
    store, document = run
    store.remove("data/part-00000001.parquet")
    dead = {1: "5 attempts failed"}
    measured: dict[str, Any] = {"statistics": {"redis_peak_bytes": 7}, "proof": Proof(not_made="no memory")}
    assert seal(store, document, max_quarantined=ALL, dead=dead, **measured).state != "sealed"
    assert replay(store, document) == Replayed(16, 16, 4)
    manifest = json.loads(store.read("_manifest.json"))
    assert [letter["reason"] for letter in manifest["dead_letters"]] == ["5 attempts failed"]
    assert (manifest["quarantined"], manifest["statistics"]) == (2, {"redis_peak_bytes": 7})
    assert manifest["proof"] == {"not_made": "no memory"}
    assert not store.exists("_SUCCESS")
    assert not store.exists("_replay.json")
    assert run_inline(store, document, limit=ALL).state == "sealed"
    assert verify(store) == []
    assert rows(store.root).drop(["embedding"]).equals(rows(clean.root).drop(["embedding"]))


class StoppedError(Exception):
    pass


def stop(*_: object) -> None:
    raise StoppedError


def test_who_is_stopped_goes_on_with_the_parts_that_are_left(run: tuple[Store, RunDocument]) -> None:
    store, document = run
    with poisoned(CRASH), pytest.raises(StoppedError):
        replay(store, document, on_part=stop)
    stands = status(store, document, None)
    assert (stands.state, stands.replay) == ("interrupted", f"penstock quarantine replay {store.root}")
    missing, rewritten = verify(store)
    assert missing == "_SUCCESS is missing: a replay of the quarantine was interrupted."
    assert "data/part-00000000.parquet was rewritten by a replay" in rewritten
    with pytest.raises(UsageError, match="Another replay was begun"):
        replay(store, document, reason=Reason.CRASH)
    with poisoned(CRASH):
        assert replay(store, document) == Replayed(13, 2, 3)
    assert {reject.attempts for reject in rejects(store) if reject.reason is Reason.CRASH} == {1}
    assert verify(store) == []
    assert status(store, document, None).state == "sealed"


def test_resume_seals_a_replay_that_was_stopped(run: tuple[Store, RunDocument]) -> None:
    store, document = run
    with pytest.raises(StoppedError):
        replay(store, document, on_part=stop)
    summary = run_inline(store, document, limit=ALL)
    assert (summary.state, summary.quarantined, summary.generation) == ("sealed", 15, 2)
    assert verify(store) == []
    assert replay(store, document, reason=Reason.CRASH) == Replayed(11, 11, 2)
    assert summary_of(store).generation == 3
    assert verify(store) == []


def test_a_disk_that_is_full_at_any_step_costs_another_call(
    template: Path, tmp_path: Path, clean: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = rows(clean.root).drop(["embedding"])
    link, move = os.link, os.replace
    said: list[str] = []
    step = 0
    while True:
        store, document = load_run(shutil.copytree(template, tmp_path / f"out-{step}"))
        left = iter(range(step))

        def full(*arguments: Any, act: Callable[..., None], left: Iterator[int] = left, **options: Any) -> None:
            if next(left, None) is None:
                raise OSError(errno.ENOSPC, "No space left on device")
            act(*arguments, **options)

        with monkeypatch.context() as patched:
            patched.setattr(os, "link", functools.partial(full, act=link))
            patched.setattr(os, "replace", functools.partial(full, act=move))
            try:
                replay(store, document)
            except InfrastructureError as error:
                said.append(error.message)
            else:
                break
        assert not [name for name in store.list("_tmp") if name.startswith("temp-")]
        replay(store, document)
        assert verify(store) == []
        assert rows(store.root).drop(["embedding"]).equals(expected)
        shutil.rmtree(store.root)
        step += 1
    assert len(said) == step >= 8
    assert all("No space left on device" in line for line in said)
