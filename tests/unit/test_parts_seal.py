"""The seal and its proof: what is counted, what is refused, and that verify finds whatever is changed afterwards."""

from __future__ import annotations

import json
import pickle
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.made_runs import ALL, DOCUMENT, entries, fill, make

from pipelines.errors import IncompleteError, UsageError, VerificationError
from pipelines.parts.duplicates import count_duplicates, hash_strings
from pipelines.parts.layout import CARD, MANIFEST, SUCCESS, part_name
from pipelines.parts.listing import read_parts
from pipelines.parts.manifest import Limit, MissingPartsError, load_summary, seal
from pipelines.parts.plan import Plan, PlanEntry
from pipelines.parts.run_document import RunDocument
from pipelines.parts.store import Store
from pipelines.parts.summary import union_s
from pipelines.parts.verify import verify


def test_a_sealed_run_adds_up_and_verifies(tmp_path: Path) -> None:
    store = make(tmp_path, [4, 4, 2, 3], {0: 1, 2: 2})
    summary = seal(store, DOCUMENT, max_quarantined=ALL)
    assert summary.state == "sealed"
    assert (summary.documents, summary.rows, summary.quarantined, summary.dead_letter_documents) == (13, 10, 3, 0)
    assert (summary.parts, summary.blank_lines, summary.warnings, summary.duplicate_ids) == (4, 4, 1, 0)
    assert (summary.tokens, summary.tokens_used, summary.truncated) == (90, 80, 10)
    assert summary.quarantined_by_reason == {"bad_json": 3}
    assert [(worker.slot, worker.documents, worker.peak_rss_bytes) for worker in summary.workers] == [
        ("cpu:0", 13, 103)
    ]
    assert load_summary(store) == summary
    assert verify(store) == []
    manifest = json.loads(store.read(MANIFEST))
    assert set(manifest) >= {"run", "fingerprint", "generation", "documents", "rows", "quarantined", "parts"}
    assert [set(part) >= {"name", "batch", "rows", "bytes", "sha256"} for part in manifest["parts"]] == [True] * 4
    assert "data_files: data/*.parquet" in store.read(CARD).decode()


def test_an_empty_corpus_is_a_run_too(tmp_path: Path) -> None:
    store = make(tmp_path, [])
    assert seal(store, DOCUMENT).state == "sealed"
    assert json.loads(store.read(MANIFEST))["parts"] == []
    assert list(read_parts(store)) == []
    assert verify(store) == []


def test_the_same_slot_of_two_hosts_is_two_workers(tmp_path: Path) -> None:
    store = make(tmp_path, [4, 4, 2], leave=(0, 1, 2))
    for entry, host in zip(Plan(store).entries(), ("one", "two", "one"), strict=True):
        fill(store, entry, host=host)
    summary = seal(store, DOCUMENT)
    assert [(worker.host, worker.slot, worker.documents) for worker in summary.workers] == [
        ("one", "cpu:0", 6),
        ("two", "cpu:0", 4),
    ]
    assert load_summary(store) == summary
    assert verify(store) == []


def test_sealing_again_changes_nothing(sealed: Store) -> None:
    before = {name: sealed.read(name) for name in (MANIFEST, SUCCESS, CARD)}
    seal(sealed, DOCUMENT, max_quarantined=ALL, statistics={"redis_peak_bytes": 5})
    assert {name: sealed.read(name) for name in before} == before


def test_two_seals_at_once_agree(tmp_path: Path) -> None:
    store = make(tmp_path, [3] * 10)
    threads = [threading.Thread(target=seal, args=(store, DOCUMENT)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verify(store) == []
    assert [name for name in store.list("_tmp") if name.startswith("temp-")] == []


def test_lost_receipts_cost_time_only(tmp_path: Path) -> None:
    store = make(tmp_path, [3, 3])
    with_receipts = seal(store, DOCUMENT)
    lines = store.read(MANIFEST)
    for name in store.list("_tmp"):
        store.remove(f"_tmp/{name}")
    assert seal(store, DOCUMENT) == with_receipts
    assert store.read(MANIFEST) == lines


def test_missing_parts_are_told_to_whoever_can_make_them(tmp_path: Path) -> None:
    store = make(tmp_path, [3, 3, 3], leave=(0, 2))
    with pytest.raises(MissingPartsError, match="2 parts are missing") as caught:
        seal(store, DOCUMENT)
    assert caught.value.batches == (0, 2)
    assert pickle.loads(pickle.dumps(caught.value)).batches == (0, 2)
    assert not store.exists(MANIFEST)


def test_an_unfinished_plan_is_not_sealed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    Plan(store).append(entries([3]))
    with pytest.raises(IncompleteError, match="plan is not complete"):
        seal(store, DOCUMENT)


def test_dead_letters_make_it_incomplete_until_their_parts_come(tmp_path: Path) -> None:
    store = make(tmp_path, [3, 2, 3], leave=(1,))
    summary = seal(store, DOCUMENT, dead={1: "crashed 5 times"})
    assert (summary.state, summary.dead_letter_documents, summary.documents, summary.rows) == ("incomplete", 2, 8, 6)
    assert verify(store) == [f"{SUCCESS} is missing: it has dead letters."]
    fill(store, entries([3, 2, 3])[1])
    again = seal(store, DOCUMENT, dead={1: "crashed 5 times"})
    assert (again.state, again.generation, again.rows) == ("sealed", 2, 8)
    assert verify(store) == []


def test_too_much_in_quarantine_until_the_limit_is_raised(tmp_path: Path) -> None:
    store = make(tmp_path, [10, 10], {1: 1})
    assert seal(store, DOCUMENT, max_quarantined=Limit.parse("1%")).state == "incomplete"
    assert store.exists(MANIFEST)
    assert not store.exists(SUCCESS)
    assert load_summary(store).state == "incomplete"
    assert seal(store, DOCUMENT, max_quarantined=Limit.parse("1")).state == "sealed"
    assert verify(store) == []


def test_only_evidence_that_a_part_names_is_kept(tmp_path: Path) -> None:
    store = make(tmp_path, [4, 4], {0: 1}, leave=(1,))
    named = store.list("_quarantine")
    store.put_if_absent("_quarantine/part-00000000-00000000.parquet", b"of an attempt that lost")
    store.put_if_absent("_quarantine/part-00000001-00000000.parquet", b"of an attempt that may still be writing")
    seal(store, DOCUMENT, dead={1: "x"})
    assert store.list("_quarantine") == [*named, "part-00000001-00000000.parquet"]


@pytest.mark.parametrize("name", ["x.parquet", "part-00000009.parquet", "part-000000000.parquet", ".DS_Store"])
def test_foreign_files_in_data_are_refused(sealed: Store, name: str) -> None:
    sealed.put_if_absent(f"data/{name}", b"")
    with pytest.raises(VerificationError, match="no part of this run"):
        seal(sealed, DOCUMENT, max_quarantined=ALL)
    assert verify(sealed) == [f"data/{name} is not in the manifest, and every reader takes it for data."]


def test_a_part_of_another_run_is_refused(tmp_path: Path) -> None:
    store = make(tmp_path, [3])
    other = RunDocument("other", *(getattr(DOCUMENT, name) for name in DOCUMENT.__slots__[1:]))
    with pytest.raises(VerificationError, match="its run is run-1, wanted other"):
        seal(store, other)


@settings(max_examples=30, deadline=None)
@given(
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    shift=st.integers(-3, 3).filter(bool),
    data=st.data(),
)
def test_the_cover_has_neither_gap_nor_overlap(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], shift: int, data: st.DataObject
) -> None:
    planned = entries(counts)
    moved = data.draw(st.sampled_from(planned))
    store = make(tmp_path_factory.mktemp("cover"), counts, leave=(moved.batch,))
    fill(store, moved, first=moved.first + shift if moved.first + shift >= 0 else moved.first + 10)
    with pytest.raises(VerificationError, match=part_name(moved.batch)):
        seal(store, DOCUMENT)


def test_duplicate_ids_are_counted_over_all_parts(tmp_path: Path) -> None:
    store = make(tmp_path, [3, 3, 2], leave=(2,))
    last = entries([3, 3, 2])[2]
    fill(store, PlanEntry(last.batch, 0, 2, last.start, last.end, last.input_digest, 2), first=last.first)
    assert seal(store, DOCUMENT).duplicate_ids == 2
    assert verify(store) == []


def test_spreading_ids_over_files_counts_the_same(tmp_path: Path) -> None:
    store = make(tmp_path, [50, 50, 50, 50], leave=(3,))
    last = entries([50] * 4)[3]
    fill(store, PlanEntry(3, 20, 50, last.start, last.end, last.input_digest, 50), first=last.first)
    names = [part_name(batch) for batch in range(4)]
    assert [count_duplicates(store, names, 200, bucket_rows=size) for size in (1000, 70, 7)] == [50, 50, 50]
    assert [name for name in store.list("_tmp") if name.startswith("temp-")] == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(), min_size=1, max_size=20), st.integers(0, 19))
def test_a_strings_hash_does_not_depend_on_its_neighbours(texts: list[str], skipped: int) -> None:
    alone = [int(hash_strings(pa.array([text], pa.large_string()))[0]) for text in texts]
    begin = min(skipped, len(texts) - 1)
    together = hash_strings(pa.array(texts, pa.large_string()).slice(begin))
    assert together.tolist() == alone[begin:]


def test_ids_spread_evenly() -> None:
    ids = pa.array([f"docs/file-{number // 100}.jsonl#{number * 311}" for number in range(20_000)], pa.large_string())
    sizes = np.bincount((hash_strings(ids) % np.uint64(16)).astype(int), minlength=16)
    assert sizes.min() > 1000
    assert sizes.max() < 1500


@pytest.mark.parametrize(
    ("started", "ended", "seconds"),
    [
        ([0.0], [5.0], 5.0),
        ([0.0, 3.0], [5.0, 4.0], 5.0),
        ([0.0, 12.0], [5.0, 20.0], 20.0),
        ([100.0, 0.0], [101.0, 5.0], 6.0),
        ([0.0, 1.0, 50.0], [30.0, 2.0, 51.0], 31.0),
    ],
)
def test_seconds_are_those_in_which_somebody_worked(started: list[float], ended: list[float], seconds: float) -> None:
    assert union_s(np.array(started), np.array(ended)) == seconds


@pytest.mark.parametrize(
    ("text", "quarantined", "documents", "allowed"),
    [("1%", 1, 100, True), ("1%", 2, 100, False), ("0.5%", 1, 199, False), ("3", 3, 4, True), ("0", 1, 9, False)],
)
def test_limits(text: str, quarantined: int, documents: int, allowed: bool) -> None:
    assert Limit.parse(text).allows(quarantined, documents) is allowed


@pytest.mark.parametrize("text", ["", "x", "-1", "101%", "1.5", "%", "٣"])
def test_limits_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--max-quarantined"):
        Limit.parse(text)


def test_a_part_whose_ids_cannot_be_read_is_named(tmp_path: Path) -> None:
    store = make(tmp_path, [40, 40])
    path = store.path(part_name(1))
    data = bytearray(path.read_bytes())
    data[4:120] = bytes(116)  # its size, and its footer, stay as they were
    path.write_bytes(data)
    with pytest.raises(VerificationError, match=rf"{path.name} is damaged: .*"):
        seal(store, DOCUMENT)
    assert not store.exists(SUCCESS)
