"""Runs made by hand: planned and committed batch by batch, with rows and rejects as a test wants them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines.documents import CORPUS_START, Cursor, Origin, Reason, Reject, Stage
from pipelines.parts.manifest import Limit
from pipelines.parts.plan import Plan, PlanEntry
from pipelines.parts.run_document import RunDocument, put_if_absent
from pipelines.parts.schema import row_schema
from pipelines.parts.sink import PartMeta, commit
from pipelines.parts.store import Store
from pipelines.spec import CorpusSpec, Dtype, ModelRef, Pooling, RunSpec, embedding_feature

MODEL = ModelRef("m", "/m", "", "roberta", "d" * 64, "e" * 64, "f" * 64, 2, 512)
SPEC = RunSpec(CorpusSpec(()), MODEL, (embedding_feature(MODEL, Pooling.MEAN),), 512, Dtype.FLOAT32, 4)
SCHEMA = row_schema([pa.field("embedding", pa.list_(pa.float32(), 2))], ())
DOCUMENT = RunDocument("run-1", SPEC.fingerprint(), "0.1", "2026-01-01T00:00:00Z", "1%", ("c.jsonl",), SPEC)
ALL = Limit.parse("100%")


def entries(counts: list[int]) -> list[PlanEntry]:
    found, place = [], CORPUS_START
    for number, count in enumerate(counts):
        end = Cursor(0, place.offset + count, 0, place.documents + count, place.blank_lines + 1)
        found.append(PlanEntry(number, place.documents, count, place, end, f"{number:032x}", count))
        place = end
    return found


def fill(
    store: Store,
    entry: PlanEntry,
    rejects: int = 0,
    warnings: int = 0,
    name: str = "doc",
    first: int = -1,
    host: str = "here",
) -> None:
    count = entry.count - rejects
    table = pa.table(
        [
            pa.array([f"{name}-{entry.first + index}" for index in range(count)], pa.string()),
            pa.FixedSizeListArray.from_arrays(pa.array(np.ones(count * 2, np.float32)), 2),
            pa.array([9] * count, pa.int32()),
            pa.array([8] * count, pa.int32()),
            pa.array([bytes(16)] * count, pa.binary(16)),
        ],
        schema=SCHEMA,
    )
    bad = [
        Reject(f"bad-{i}", Origin("/c", i, 1), Stage.READ, Reason.BAD_JSON, "x" * entry.batch) for i in range(rejects)
    ]
    notes = [Reject("doc", Origin("/c", 0, 1), Stage.WARNING, Reason.KEPT_VALUE, "null")] * warnings
    meta = PartMeta(
        run=DOCUMENT.run,
        spec=SPEC,
        code_version="0.1",
        batch=entry.batch,
        first=entry.first if first < 0 else first,
        count=entry.count,
        input_digest=entry.input_digest,
        host=host,
        slot="cpu:0",
        device="cpu",
        tokens=9 * count,
        tokens_used=8 * count,
        truncated=count,
        peak_rss_bytes=100 + entry.batch,
    )
    assert commit(store, meta, table, bad, notes).won


def make(root: Path, counts: list[int], rejects: dict[int, int] | None = None, leave: tuple[int, ...] = ()) -> Store:
    store = Store(root)
    put_if_absent(store, DOCUMENT)
    plan = Plan(store)
    planned = entries(counts)
    for entry in planned:
        plan.append([entry])
    plan.seal(planned[-1].end if planned else CORPUS_START)
    for entry in planned:
        if entry.batch not in leave:
            fill(store, entry, (rejects or {}).get(entry.batch, 0), warnings=int(entry.batch == 1))
    return store
