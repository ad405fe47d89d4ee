"""A model that computes nothing, so that what is left is queue, plan and Parquet: named by PENSTOCK_INCLUDE in tests.

The vector of a document is the beginning of its input digest, so every row tells whose vector it should hold; no torch
is loaded. ``NOOP_MICRO_BATCH`` documents (64 by default) are taken in hand at a time, each time for ``NOOP_PAUSE_S``.
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.documents import Batch, Document, Reject, Stage, input_digest, reject_of
from pipelines.features.columns import feature_fields
from pipelines.parts.run_document import RunDocument
from pipelines.parts.schema import row_schema
from pipelines.spec import RunSpec
from pipelines.suspicion import NO_SUSPICION, Suspicion
from worker import process

MICRO_BATCH = int(os.environ.get("NOOP_MICRO_BATCH", "64"))
PAUSE_S = float(os.environ.get("NOOP_PAUSE_S", "0"))


class Result:
    """What the engine's ``Extracted`` is, without torch."""

    def __init__(self, table: pa.Table, rejects: list[Reject], warnings: list[Reject]) -> None:
        self.table, self.rejects, self.warnings = table, rejects, warnings
        self.tokens = self.tokens_used = table.num_rows
        self.truncated = self.repeated = 0

    def assemble(self) -> Result:
        return self


class NoopExtractor:
    """Stands in for the engine's Extractor; its rows have the run's schema."""

    nbytes = 0

    def __init__(self, spec: RunSpec) -> None:
        self.width = spec.features[0].model.hidden_size
        fields = [column for feature in spec.features for column in feature_fields(feature)]
        self.schema = row_schema(fields, spec.corpus.keep)

    def compute(self, batch: Batch, on_progress: Any, *, on_taking: Any, suspicion: Suspicion = NO_SUSPICION) -> Result:
        documents = batch.documents
        groups = [list(group) for group in suspicion.groups]
        suspects = suspicion.suspects
        rest = [index for index in range(len(documents)) if index not in suspects]
        groups += [rest[start : start + MICRO_BATCH] for start in range(0, len(rest), MICRO_BATCH)]
        for group in groups:
            on_taking("forward", group)
            self.take([documents[index] for index in group if index not in suspicion.guilty])
            on_progress(len(group), len(group))
        on_taking("", ())
        guilty = {
            index: reject_of(documents[index], Stage.EXTRACT, guilt.reason, guilt.detail, guilt.attempts)
            for index, guilt in suspicion.guilty.items()
        }
        rows = [document for index, document in enumerate(documents) if index not in guilty]
        numbers = iter(range(len(documents)))
        found = (item if isinstance(item, Reject) else guilty.get(next(numbers)) for item in batch.items)
        return Result(self._table(rows), [reject for reject in found if reject is not None], batch.warnings)

    def take(self, documents: list[Document]) -> None:
        """The forward pass: tests may wrap it."""
        if PAUSE_S:
            time.sleep(PAUSE_S)

    def _table(self, rows: list[Document]) -> pa.Table:
        digests = [input_digest(document.text, document.pair) for document in rows]
        ones = pa.array(np.ones(len(rows), np.int32))
        values = pa.array(vectors(digests, self.width).reshape(-1))
        columns = [
            pa.array([document.id for document in rows], pa.string()),
            pa.FixedSizeListArray.from_arrays(values, type=self.schema.field(1).type),
            ones,
            ones,
            pa.array(digests, pa.binary(16)),
        ]
        for number, field in enumerate(list(self.schema)[len(columns) :]):
            columns.append(pa.array([document.kept[number] for document in rows], field.type))
        return pa.Table.from_arrays(columns, schema=self.schema)


def vectors(digests: list[bytes], width: int) -> npt.NDArray[np.float32]:
    """What the rows of documents with these digests must hold. *Shape:* ``[documents, width]``, width at most 8."""
    numbers = np.frombuffer(b"".join(digests), np.uint16).reshape(-1, 8)[:, :width]
    return np.ascontiguousarray(numbers, np.float32) / np.float32(65536)


def _extractor(self: process.ProcessResources, document: RunDocument) -> NoopExtractor:
    return NoopExtractor(document.spec)


if "PENSTOCK_SLOT_OWNER" in os.environ:  # a worker's; tests import this file too, and share their process with others
    process.ProcessResources.extractor = _extractor  # type: ignore[method-assign,assignment]  # replaced on purpose
    process._load_torch = lambda *_: None
