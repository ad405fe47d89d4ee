"""Which documents are proved: the same whoever draws them, from batches that can be read again at a bounded cost."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from unit.made_runs import entries, fill, make

from pipelines.parts.plan import Plan
from pipelines.parts.store import Store
from pipelines.proof import sample
from pipelines.proof.sample import MAX_BATCHES, drawn, sampled_batches, sampled_rows
from pipelines.spec import CorpusSpec, Format, Shard

PLAIN = CorpusSpec((Shard("/c.jsonl", "c.jsonl", Format.JSONL, "none", 10**9, 0),))


def chosen(store: Store, corpus: CorpusSpec = PLAIN, *, documents: int = 8, done: bool = False) -> list[int] | None:
    return sampled_batches(store, Plan(store), corpus, "f" * 64, documents=documents, all_are_done=done)


@pytest.mark.parametrize("count", [0, 1, 5, 512, 513, 10**9])
def test_a_seed_decides_the_order_of_different_numbers(count: int) -> None:
    numbers = list(islice(drawn("seed", count), 64))
    assert numbers == list(islice(drawn("seed", count), 64))
    assert len(set(numbers)) == len(numbers) > min(count, 64) / 2 - 1
    assert all(0 <= number < count for number in numbers)
    if count >= 512:
        assert numbers != list(islice(drawn("other", count), 64))
        assert max(numbers) > count * 0.8


def test_the_longest_row_is_always_among_them() -> None:
    rows = list(sampled_rows("seed", 3, [5, 9, 2, 9]))
    assert rows[0] == 1
    assert sorted(rows) == [0, 1, 2, 3]
    assert list(sampled_rows("seed", 3, [])) == []


def test_a_sample_waits_for_its_parts_and_passes_over_dead_letters(tmp_path: Path) -> None:
    counts = [3] * 20
    whole = chosen(make(tmp_path / "whole", counts))
    assert whole is not None
    assert whole == sorted(set(whole))
    assert len(whole) == MAX_BATCHES
    store = make(tmp_path / "late", counts, leave=(whole[2],))
    assert chosen(store) is None
    without = chosen(store, done=True)
    assert without is not None
    assert set(whole) - set(without) == {whole[2]}
    assert len(without) == MAX_BATCHES
    fill(store, entries(counts)[whole[2]])
    assert chosen(store) == whole
    assert len(chosen(store, documents=1) or ()) == 1


def test_without_a_sealed_plan_there_is_no_sample(tmp_path: Path) -> None:
    store = make(tmp_path, [3, 3])
    store.remove("_plan/SEALED.json")
    assert chosen(store) is None


def test_batches_without_rows_are_passed_over(tmp_path: Path) -> None:
    assert chosen(make(tmp_path / "some", [3] * 6, {0: 3, 2: 3, 3: 3})) == [1, 4, 5]
    assert chosen(make(tmp_path / "none", [2, 2], {0: 2, 1: 2})) == []


@pytest.mark.parametrize(
    "shard", [{"compression": "gzip"}, {"format": Format.ARROW}, {"format": Format.PARQUET, "compression": "zstd"}]
)
def test_what_cannot_be_entered_in_the_middle_is_proved_at_its_beginning(
    tmp_path: Path, shard: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = replace(PLAIN, shards=(replace(PLAIN.shards[0], **shard),))
    store = make(tmp_path, [3] * 40)
    assert chosen(store, corpus) == (chosen(store) if shard == {"compression": "gzip"} else [0])
    monkeypatch.setattr(sample, "MAX_REREAD_BYTES", 40)  # here an offset is a number of documents
    found = chosen(store, corpus)
    assert found
    assert 3 * sum(found) <= 40
