"""What must not grow with the number of files, parts or rows: footers, and the memory that counting ids takes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from unit.made_runs import SPEC

from pipelines.parts import duplicates
from pipelines.parts.duplicates import count_duplicates
from pipelines.parts.footer import spec_metadata
from pipelines.parts.store import Store
from pipelines.spec import Format, RunSpec, Shard


def spec_of_files(count: int) -> RunSpec:
    shards = (Shard(f"/corpus/{n:06d}.jsonl", f"{n:06d}.jsonl", Format.JSONL, "none", 9, 9) for n in range(count))
    return replace(SPEC, corpus=replace(SPEC.corpus, shards=tuple(shards)))


def test_a_footer_does_not_grow_with_the_files_of_the_corpus() -> None:
    one, many = (spec_metadata(spec_of_files(count)) for count in (1, 5000))
    assert sum(map(len, many.values())) - sum(map(len, one.values())) == len("5000") - len("1")
    there = json.loads(many["spec"])
    assert there["corpus"]["files"] == 5000
    assert there["model"]["digest"] == SPEC.model.digest
    assert one["fingerprint"] != many["fingerprint"] == spec_of_files(5000).fingerprint().encode()


def test_footers_of_many_specs_in_turn_are_their_own() -> None:
    specs = [replace(SPEC, prefix=str(number)) for number in range(40)]
    for _ in range(2):
        found = [json.loads(spec_metadata(spec)["spec"])["prefix"] for spec in specs]
        assert found == [str(number) for number in range(40)]


@pytest.mark.parametrize(("distinct", "rows"), [(900, 900), (700, 900), (1, 900), (3, 900)])
def test_ids_are_counted_in_small_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distinct: int, rows: int
) -> None:
    store = Store(tmp_path)
    for number in range(9):
        ids = [f"{index % distinct}" for index in range(number * 100, number * 100 + 100)]
        pq.write_table(pa.table({"id": ids}), tmp_path / f"{number}.parquet")
    groups: list[int] = []
    count_group = duplicates._duplicates

    def counted(chunks: object) -> int:
        arrays = list(chunks)  # type: ignore[call-overload]  # any iterable, passed on
        groups.append(sum(map(len, arrays)))
        return count_group(arrays)

    monkeypatch.setattr(duplicates, "_duplicates", counted)
    monkeypatch.setattr(duplicates, "MAX_BUCKETS", 4)
    monkeypatch.setattr(duplicates, "_SPREAD_ROWS", 250)
    monkeypatch.setattr(duplicates, "_HASHED_ROWS", 7)
    found = count_duplicates(store, (f"{number}.parquet" for number in range(9)), rows, bucket_rows=50)
    assert found == rows - distinct
    assert sum(groups) == rows
    if distinct > 3:
        assert max(groups) < 150
    assert store.list("_tmp") == []
