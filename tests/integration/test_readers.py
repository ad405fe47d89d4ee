"""Common readers take the bare folder of a dataset, parts without rows included, and agree on its rows."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from pipelines.documents import CORPUS_START, Cursor, Origin, Reason, Reject, Stage
from pipelines.parts.manifest import Limit, seal
from pipelines.parts.plan import Plan, PlanEntry
from pipelines.parts.run_document import RunDocument, put_if_absent
from pipelines.parts.schema import row_schema
from pipelines.parts.sink import PartMeta, commit
from pipelines.parts.store import Store
from pipelines.spec import CorpusSpec, Dtype, KeptColumn, ModelRef, Pooling, RunSpec, embedding_feature, labels_feature

WIDTH = 8
LABELS = ("no", "yes", "perhaps")
MODEL = ModelRef("m", "/m", "", "roberta", "d" * 64, "e" * 64, "f" * 64, WIDTH, 512, LABELS)
KEPT = (KeptColumn("topic", "string", "topic"), KeptColumn("stars", "int64", "stars"))
SPEC = RunSpec(
    corpus=CorpusSpec((), keep=KEPT),
    model=MODEL,
    features=(embedding_feature(MODEL, Pooling.MEAN), labels_feature(MODEL, None)),
    max_tokens=512,
    dtype=Dtype.FLOAT32,
    batch_documents=5,
)
SCHEMA = row_schema(
    [
        pa.field("embedding", pa.list_(pa.float32(), WIDTH)),
        pa.field("label", pa.string()),
        pa.field("score", pa.float32()),
        pa.field("scores", pa.list_(pa.float32(), len(LABELS))),
    ],
    KEPT,
)
BATCHES = ((0, 5), (5, 0), (10, 5), (15, 3), (20, 0))  # first document, rows; the rest of the five are rejects
ROWS = sum(rows for _, rows in BATCHES)


def reader(name: str) -> ModuleType:
    """A reader's module; where it is missing the test is skipped, but never on the machine that decides."""
    try:
        return importlib.import_module(name)
    except ImportError:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"{name} is not installed")


def table_of(first: int, count: int) -> pa.Table:
    generator = np.random.default_rng(first)
    vectors = generator.standard_normal((count, WIDTH), dtype=np.float32)
    scores = generator.random((count, len(LABELS)), dtype=np.float32)
    return pa.table(
        [
            pa.array([f"doc-{first + index:04d}" for index in range(count)], pa.string()),
            pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), WIDTH),
            pa.array([LABELS[int(row.argmax())] for row in scores], pa.string()),
            pa.array([float(row.max()) for row in scores], pa.float32()),
            pa.FixedSizeListArray.from_arrays(pa.array(scores.reshape(-1)), len(LABELS)),
            pa.array([12] * count, pa.int32()),
            pa.array([12] * count, pa.int32()),
            pa.array([bytes([index]) * 16 for index in range(count)], pa.binary(16)),
            pa.array(["ü" if index % 2 else None for index in range(count)], pa.string()),
            pa.array([None if index % 3 else index for index in range(count)], pa.int64()),
        ],
        schema=SCHEMA,
    )


@pytest.fixture(scope="module")
def expected() -> pa.Table:
    return pa.concat_tables([table_of(first, rows) for first, rows in BATCHES])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = Store(tmp_path_factory.mktemp("readers") / "out")
    document = RunDocument("r", SPEC.fingerprint(), "0.1", "2026-01-01T00:00:00Z", "1%", ("c.jsonl",), SPEC)
    put_if_absent(store, document)
    plan, place = Plan(store), CORPUS_START
    for number, (first, rows) in enumerate(BATCHES):
        end = Cursor(0, first + 5, 0, first + 5, 0)
        plan.append([PlanEntry(number, first, 5, place, end, "00", 0)])
        place = end
        rejects = [
            Reject(f"bad-{first + rows + index}", Origin("/c", index, 1), Stage.READ, Reason.BAD_JSON, "no JSON")
            for index in range(5 - rows)
        ]
        meta = PartMeta(run="r", spec=SPEC, code_version="0.1", batch=number, first=first, count=5, input_digest="00")
        commit(store, meta, table_of(first, rows), rejects)
    plan.seal(place)
    assert seal(store, document, max_quarantined=Limit.parse("100%")).state == "sealed"
    return store.root


def assert_same(rows: list[dict[str, Any]], expected: pa.Table) -> None:
    """The same rows in the same order, whatever the reader calls a vector."""
    assert len(rows) == ROWS
    for found, wanted in zip(rows, expected.to_pylist(), strict=True):
        assert list(found) == list(wanted)
        for name, value in wanted.items():
            got = found[name].tolist() if hasattr(found[name], "tolist") else found[name]
            got = list(got) if isinstance(got, tuple) else got
            assert got == value or (value is None and got != got), (name, got, value)


def test_pyarrow(dataset: Path, expected: pa.Table) -> None:
    table = pyarrow.dataset.dataset(dataset / "data").to_table()
    assert table.replace_schema_metadata().equals(expected)
    assert pq.read_table(dataset / "data").num_rows == ROWS


def test_duckdb(dataset: Path, expected: pa.Table) -> None:
    duckdb = reader("duckdb")
    with duckdb.connect() as connection:
        for place in (dataset / "data", dataset / "data" / "*.parquet"):
            found = connection.sql(f"SELECT * FROM read_parquet('{place}') ORDER BY id").to_arrow_table()
            assert_same(found.to_pylist(), expected)
        kinds = connection.execute(f"SELECT typeof(embedding) FROM read_parquet('{dataset}/data') LIMIT 1").fetchone()
        assert kinds == ("FLOAT[]",)
        query = f"SELECT sum(array_inner_product(embedding::FLOAT[{WIDTH}], embedding::FLOAT[{WIDTH}]))"
        assert connection.execute(f"{query} FROM read_parquet('{dataset}/data')").fetchone()[0] > 0


def test_polars(dataset: Path, expected: pa.Table) -> None:
    polars = reader("polars")
    assert_same(polars.read_parquet(dataset / "data").to_dicts(), expected)
    assert polars.scan_parquet(dataset / "data").select(polars.len()).collect().item() == ROWS


def test_pandas(dataset: Path, expected: pa.Table) -> None:
    pandas = reader("pandas")
    assert_same(pandas.read_parquet(dataset / "data").to_dict("records"), expected)


def test_datasets(dataset: Path, expected: pa.Table, tmp_path: Path) -> None:
    datasets = reader("datasets")
    loaded = datasets.load_dataset(str(dataset), split="train", cache_dir=str(tmp_path))
    assert_same(list(loaded), expected)
    assert loaded.column_names == list(SPEC.column_names)
