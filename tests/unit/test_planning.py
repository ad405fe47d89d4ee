"""The corpus as a stored plan: read once, read again exactly, and refused where it is not what it was."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.corpus import CorpusOptions, discover
from pipelines.documents import Batch, items_digest
from pipelines.errors import CorpusChangedError
from pipelines.parts.schema import row_schema
from pipelines.parts.sink import PartMeta, commit
from pipelines.parts.store import Store
from pipelines.planning import Planner
from pipelines.spec import Dtype, ModelRef, Pooling, RunSpec, embedding_feature

MODEL = ModelRef("m", "/m", "", "roberta", "d" * 64, "e" * 64, "f" * 64, 2, 512)
SCHEMA = row_schema([pa.field("embedding", pa.list_(pa.float32(), 2))], ())


def spec_of(*paths: Path, batch_documents: int = 32) -> RunSpec:
    return RunSpec(
        corpus=discover([str(path) for path in paths], CorpusOptions()),
        model=MODEL,
        features=(embedding_feature(MODEL, Pooling.MEAN),),
        max_tokens=512,
        dtype=Dtype.FLOAT32,
        batch_documents=batch_documents,
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "out")
    made.create()
    return made


def plan_all(planner: Planner) -> list[Batch]:
    planned = list(planner.fresh())
    for batch in planned:
        assert planner.record([batch])
    planner.seal()
    return planned


def commit_empty(store: Store, spec: RunSpec, batch: Batch) -> None:
    """A part with a row of zeros for each document."""
    count = len(batch.items)
    columns = [
        pa.array([item.id for item in batch.items]),
        pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(2 * count, np.float32)), 2),
        *[pa.array([3] * count, pa.int32())] * 2,
        pa.array([bytes(16)] * count, pa.binary(16)),
    ]
    meta = PartMeta(
        run="r",
        spec=spec,
        code_version="1",
        batch=batch.number,
        first=batch.first,
        count=count,
        input_digest=items_digest(batch.items),
    )
    commit(store, meta, pa.table(columns, schema=SCHEMA), [])


def test_a_plan_covers_the_corpus(store: Store, small_corpus: Path) -> None:
    planner = Planner(store, spec_of(small_corpus))
    planned = plan_all(planner)
    assert [len(batch.items) for batch in planned] == [32] * 9 + [12]
    totals = planner.plan.totals()
    assert totals is not None
    assert (totals.batches, totals.documents) == (10, 300)
    assert [entry.input_digest for entry in planner.plan.entries()] == [items_digest(b.items) for b in planned]


@pytest.mark.parametrize("compressed", [False, True])
def test_planned_batches_are_read_again_in_any_order(
    store: Store, small_corpus: Path, tmp_path: Path, compressed: bool
) -> None:
    if compressed:
        small_corpus = small_corpus.rename(tmp_path / "plain")
        (tmp_path / "corpus.jsonl.gz").write_bytes(gzip.compress(small_corpus.read_bytes()))
        small_corpus = tmp_path / "corpus.jsonl.gz"
    planner = Planner(store, spec_of(small_corpus))
    planned = plan_all(planner)
    for number in (*range(10), 7, 7, 2, 3, 0, 9):
        assert planner.read(planner.plan.entry(number)) == planned[number]
    planner.close()


def test_planning_goes_on_where_another_planner_stopped(store: Store, small_corpus: Path, tmp_path: Path) -> None:
    spec = spec_of(small_corpus)
    whole = list(Planner(Store(tmp_path / "other"), spec).fresh())
    for stop in (1, 4, 9):
        planner = Planner(store, spec)
        for batch in planner.fresh():
            assert planner.record([batch])
            if batch.number == stop:
                break
    assert plan_all(Planner(store, spec)) == whole[10:]
    assert [entry.batch for entry in Planner(store, spec).plan.entries()] == list(range(10))


def test_of_two_planners_the_slower_is_told_so(store: Store, small_corpus: Path) -> None:
    spec = spec_of(small_corpus)
    one, other = Planner(store, spec), Planner(store, spec)
    first, late = next(one.fresh()), next(other.fresh())
    assert one.record([first])
    assert not other.record([late])
    assert next(other.fresh()).number == 1


def test_the_backlog_is_what_is_planned_and_has_no_part(store: Store, small_corpus: Path) -> None:
    spec = spec_of(small_corpus)
    planner = Planner(store, spec)
    planned = plan_all(planner)
    for batch in planned:
        if batch.number % 3:
            commit_empty(store, spec, batch)
    assert [entry.batch for entry in Planner(store, spec).backlog()] == [0, 3, 6, 9]


def test_an_empty_corpus_is_one_batch_of_nothing(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "empty.txt"
    path.write_text("\n\n")
    planner = Planner(store, spec_of(path))
    (batch,) = planner.fresh()
    assert (batch.number, batch.items) == (0, [])
    assert planner.record([batch])
    assert list(Planner(store, spec_of(path)).fresh()) == []  # killed here, the next one only seals
    planner.seal()
    totals = Planner(store, spec_of(path)).plan.totals()
    assert totals is not None
    assert (totals.batches, totals.documents, totals.blank_lines) == (1, 0, 2)
    (entry,) = planner.backlog()
    assert planner.read(entry) == batch


def changed_text(data: bytes) -> bytes:
    return data.replace(b"river", b"tiger")


def changed_length(data: bytes) -> bytes:
    return data[: len(data) // 2]


@pytest.mark.parametrize("change", [changed_text, changed_length])
def test_a_batch_that_is_not_what_it_was_is_refused(
    store: Store, small_corpus: Path, change: Callable[[bytes], bytes]
) -> None:
    planner = Planner(store, spec_of(small_corpus))
    plan_all(planner)
    small_corpus.write_bytes(change(small_corpus.read_bytes()))
    with pytest.raises(CorpusChangedError, match=str(small_corpus)):
        planner.read(planner.plan.entry(8))


def test_a_file_that_is_gone_is_named(store: Store, small_corpus: Path) -> None:
    planner = Planner(store, spec_of(small_corpus))
    plan_all(planner)
    place = small_corpus.rename(small_corpus.with_name("elsewhere"))
    with pytest.raises(CorpusChangedError, match=str(small_corpus)):
        planner.read(planner.plan.entry(0))
    place.rename(small_corpus)
    assert len(planner.read(planner.plan.entry(0)).items) == 32
    planner.close()


def test_a_batch_over_two_files_blames_the_one_it_begins_in(store: Store, small_corpus: Path, tmp_path: Path) -> None:
    second = tmp_path / "second.jsonl"
    second.write_bytes(small_corpus.read_bytes())
    planner = Planner(store, spec_of(small_corpus, second, batch_documents=200))
    planned = plan_all(planner)
    assert [len(batch.items) for batch in planned] == [200, 200, 200]
    second.write_bytes(changed_text(second.read_bytes()))
    with pytest.raises(CorpusChangedError, match=r"second\.jsonl"):
        planner.read(planner.plan.entry(2))
    planner.close()
