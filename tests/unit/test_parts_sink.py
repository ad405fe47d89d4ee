"""The commit: order of what becomes visible, first writer wins, parts without rows, what a footer says."""

from __future__ import annotations

import re
import resource
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.documents import Origin, Reason, Reject, Stage
from pipelines.errors import InfrastructureError, PenstockError, VerificationError
from pipelines.parts import quarantine
from pipelines.parts.receipts import Receipts
from pipelines.parts.schema import row_schema
from pipelines.parts.sink import PartMeta, commit, is_committed, part_name, read_footer
from pipelines.parts.store import Store
from pipelines.spec import CorpusSpec, Dtype, KeptColumn, ModelRef, Pooling, RunSpec, embedding_feature, labels_feature

MODEL = ModelRef("m", "/m", "", "roberta", "d" * 64, "e" * 64, "f" * 64, 4, 512, ("no", "yes"))
SPEC = RunSpec(
    corpus=CorpusSpec((), keep=(KeptColumn("topic", "string", "topic"), KeptColumn("stars", "double", "stars"))),
    model=MODEL,
    features=(embedding_feature(MODEL, Pooling.MEAN), labels_feature(MODEL, None)),
    max_tokens=512,
    dtype=Dtype.FLOAT32,
    batch_documents=8,
)
SCHEMA = row_schema(
    [
        pa.field("embedding", pa.list_(pa.float32(), 4)),
        pa.field("label", pa.string()),
        pa.field("score", pa.float32()),
        pa.field("scores", pa.list_(pa.float32(), 2)),
    ],
    SPEC.corpus.keep,
)


def rows(count: int) -> pa.Table:
    columns = [
        pa.array([f"doc-{index}" for index in range(count)], pa.string()),
        pa.FixedSizeListArray.from_arrays(pa.array(np.arange(count * 4, dtype=np.float32)), 4),
        pa.array(["yes"] * count, pa.string()),
        pa.array(np.full(count, 0.75, np.float32)),
        pa.FixedSizeListArray.from_arrays(pa.array(np.tile(np.array([0.25, 0.75], np.float32), count)), 2),
        pa.array([7] * count, pa.int32()),
        pa.array([7] * count, pa.int32()),
        pa.array([bytes(16)] * count, pa.binary(16)),
        pa.array([None] * count, pa.string()),
        pa.array([0.5] * count, pa.float64()),
    ]
    return pa.table(columns, schema=SCHEMA)


def reject(number: int, stage: Stage = Stage.READ) -> Reject:
    return Reject(f"bad-{number}", Origin("/c.jsonl", number, number + 1), stage, Reason.BAD_JSON, "no JSON")


def meta(batch: int = 0, count: int = 3) -> PartMeta:
    return PartMeta(run="r", spec=SPEC, code_version="1", batch=batch, first=0, count=count, input_digest="ab" * 16)


def visible(store: Store) -> set[str]:
    return {f"{folder}/{name}" for folder in ("data", "_quarantine") for name in store.list(folder)}


def test_a_commit_reads_back_as_it_was_written(tmp_path: Path) -> None:
    store = Store(tmp_path / "out")
    store.create()
    done = commit(store, meta(count=4), rows(3), [reject(1)], [reject(2, Stage.WARNING)])
    assert done.won
    assert done.name == part_name(0) == "data/part-00000000.parquet"
    assert pq.read_table(store.path(done.name)).replace_schema_metadata().equals(rows(3))
    footer = read_footer(store, 0)
    assert (footer.run, footer.fingerprint, footer.rows, footer.rejects, footer.warnings) == (
        "r",
        SPEC.fingerprint(),
        3,
        1,
        1,
    )
    assert footer.rejects_by_reason == {"bad_json": 1}
    assert (done.size_bytes, done.sha256) == store.digest(done.name)
    assert Receipts(store, 1).get(0) == (done.size_bytes, done.sha256)
    assert [found for _, found in quarantine.read_run(store)] == [reject(1), reject(2, Stage.WARNING)]
    assert [name for name in store.list("_tmp") if name.startswith("temp-")] == []


def test_the_footer_carries_what_the_contract_names(tmp_path: Path) -> None:
    store = Store(tmp_path)
    commit(store, meta(), rows(3), [])
    keys = {key.decode().removeprefix("penstock.") for key in pq.read_metadata(store.path(part_name(0))).metadata}
    assert keys >= {"spec", "fingerprint", "feature_fingerprints", "model_digests", "tokenizer_digests", "labels"}
    assert keys >= {"code_version", "batch", "rows", "rejects", "input_digest", "quarantine"}


def test_a_part_without_rows_has_no_row_group_and_the_same_schema(tmp_path: Path) -> None:
    store = Store(tmp_path)
    commit(store, meta(count=2), rows(0), [reject(1), reject(2)])
    metadata = pq.read_metadata(store.path(part_name(0)))
    assert (metadata.num_row_groups, metadata.num_rows) == (0, 0)
    assert read_footer(store, 0).schema.equals(SCHEMA)


def test_the_first_attempt_wins_and_the_loser_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = commit(store, meta(), rows(2), [reject(1)])
    before = visible(store)
    second = commit(store, meta(), rows(1), [reject(1), reject(2)])
    assert (first.won, second.won) == (True, False)
    assert visible(store) == before
    assert read_footer(store, 0).rows == 2


def test_an_attempt_that_loses_at_the_last_moment_takes_its_evidence_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    put = quarantine.write

    def put_while_another_commits(store: Store, batch: int, rejects: list[Reject]) -> tuple[str, str]:
        written = put(store, batch, rejects)
        monkeypatch.setattr(quarantine, "write", put)
        assert commit(store, meta(), rows(3), []).won
        return written

    monkeypatch.setattr(quarantine, "write", put_while_another_commits)
    late = commit(store, meta(), rows(2), [reject(1)])
    assert not late.won
    assert visible(store) == {part_name(0)}


def test_evidence_is_there_before_the_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    seen: list[set[str]] = []
    publish = Store.publish

    def watched(self: Store, temporary: Path, name: str) -> bool:
        seen.append(visible(self))
        won = publish(self, temporary, name)
        seen.append(visible(self))
        return won

    monkeypatch.setattr(Store, "publish", watched)
    commit(store, meta(), rows(2), [reject(1)])
    (evidence,) = {f"_quarantine/{name}" for name in store.list("_quarantine")}
    assert re.fullmatch(r"_quarantine/part-00000000-[0-9a-f]{8}\.parquet", evidence)
    assert seen == [set(), {evidence}, {evidence}, {evidence, part_name(0)}]


def test_dying_before_the_link_commits_nothing_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    publish = Store.publish

    def dies_at_the_part(self: Store, temporary: Path, name: str) -> bool:
        if name.startswith("data/"):
            raise KeyboardInterrupt
        return publish(self, temporary, name)

    with monkeypatch.context() as context:
        context.setattr(Store, "publish", dies_at_the_part)
        with pytest.raises(KeyboardInterrupt):
            commit(store, meta(), rows(2), [reject(1)])
    assert not is_committed(store, 0)
    assert store.list("_tmp") == []
    assert commit(store, meta(), rows(2), [reject(1)]).won
    assert len(visible(store)) == 2


@pytest.mark.parametrize("repetition", range(5))
def test_of_racing_attempts_one_is_visible_with_its_evidence(tmp_path: Path, repetition: int) -> None:
    store = Store(tmp_path)
    barrier, outcomes = threading.Barrier(8), []

    def attempt(number: int) -> None:
        bad = number % 3
        barrier.wait()
        outcomes.append(commit(store, meta(), rows(3 - bad), [reject(index) for index in range(bad)]))

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [outcome for outcome in outcomes if outcome.won]
    footer = read_footer(store, 0)
    assert len(outcomes) == 8
    assert (footer.rows, footer.rejects) == (winner.rows, winner.rejects)
    assert visible(store) == {part_name(0)} | ({footer.quarantine} if footer.quarantine else set())


def test_counts_that_do_not_add_up_are_a_bug(tmp_path: Path) -> None:
    with pytest.raises(PenstockError, match="2 rows and 0 rejects of 3 documents: this is a bug"):
        commit(Store(tmp_path), meta(count=3), rows(2), [])


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"\xff" * 100 + b"PAR1", b"no parquet at all" * 10])
def test_a_foreign_part_is_named(tmp_path: Path, content: bytes) -> None:
    store = Store(tmp_path)
    store.put_if_absent(part_name(0), content)
    with pytest.raises(VerificationError, match="part-00000000"):
        read_footer(store, 0)


def test_somebody_elses_parquet_is_no_part(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put_if_absent(part_name(0), b"")
    pq.write_table(pa.table({"a": [1]}), store.path(part_name(0)))
    with pytest.raises(VerificationError, match="no part of penstock's"):
        read_footer(store, 0)


def test_a_disk_that_takes_no_more_is_nobodys_fault(tmp_path: Path) -> None:
    store = Store(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        with pytest.raises(InfrastructureError, match=r"temp-\w+: cannot write: File too large\."):
            commit(store, meta(count=20_000), rows(20_000), [])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert visible(store) == set()
    assert store.list("_tmp") == []


def test_text_that_is_no_utf8_can_be_quarantined(tmp_path: Path) -> None:
    odd = reject(1)._replace(id="\ud800", detail="\udfff end")
    name, _ = quarantine.write(Store(tmp_path), 0, [odd])
    (back,) = quarantine.read(Store(tmp_path), name)
    assert (back.id, back.detail) == ("\\ud800", "\\udfff end")
