"""What a device has made of a batch, put back into corpus order as rows of the dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.chunk import Chunk
from pipelines.documents import Batch, Document, Reason, Reject, Stage, input_digest, reject_of
from pipelines.features.protocol import Feature
from pipelines.readings.inputs import Inputs
from pipelines.spec import KeptColumn, Long, RunSpec
from pipelines.work import Work


@dataclass(frozen=True, slots=True)
class Extracted:
    """What became of a batch: its rows and its rejects (reading's and extraction's), both in corpus order.

    Counts are over the rows: ``tokens`` before cutting, ``tokens_used`` after, ``truncated`` the documents cut,
    ``repeated`` those that were not computed because an earlier one of the batch has the same text.
    """

    table: pa.Table
    rejects: list[Reject]
    warnings: list[Reject]
    tokens: int
    tokens_used: int
    truncated: int
    repeated: int = 0


@dataclass(frozen=True, slots=True)
class Computed:
    """A batch that the device is done with; ``features`` are those of each forward pass."""

    spec: RunSpec
    schema: pa.Schema
    features: Sequence[Sequence[Feature]]
    batch: Batch
    work: Work
    chunks: Sequence[Chunk]

    def assemble(self) -> Extracted:
        """The batch's rows and rejects. No device is needed for it."""
        work, warnings = self.work, list(self.batch.warnings)
        alive = work.alive()
        order, inputs = self._places(work.sources(alive))
        numbers = iter(range(len(work.documents)))
        found = (item if isinstance(item, Reject) else work.rejected.get(next(numbers)) for item in self.batch.items)
        return Extracted(
            table=self._table(alive, order, inputs, warnings) if len(alive) else self.schema.empty_table(),
            rejects=[reject for reject in found if reject is not None],
            warnings=warnings,
            tokens=sum(one.n_tokens for one in inputs),
            tokens_used=sum(one.n_used for one in inputs),
            truncated=sum(one.n_used < one.n_tokens for one in inputs),
            repeated=sum(index not in work.rejected for index in work.repeats),
        )

    def _places(self, sources: npt.NDArray[np.intp]) -> tuple[npt.NDArray[np.intp], list[Inputs]]:
        """Where each of these documents stands in what the chunks have computed, one after the other; its inputs."""
        computed = [(chunk, place) for chunk in self.chunks for place in self.work.places(chunk.documents).tolist()]
        there = {int(chunk.documents[place]): number for number, (chunk, place) in enumerate(computed)}
        order = np.array([there[index] for index in sources.tolist()], np.intp)
        return order, [chunk.measured[place] for chunk, place in (computed[number] for number in order.tolist())]

    def _table(
        self, alive: npt.NDArray[np.intp], order: npt.NDArray[np.intp], inputs: Sequence[Inputs], warnings: list[Reject]
    ) -> pa.Table:
        documents = [self.work.documents[index] for index in alive]
        columns: list[pa.Array] = [pa.array([document.id for document in documents], pa.string())]
        columns += self._features(order)
        columns += [pa.array([one.n_tokens for one in inputs], pa.int32())]
        columns += [pa.array([one.n_used for one in inputs], pa.int32())]
        if self.spec.long.policy is Long.WINDOW:
            columns.append(pa.array([len(one.rows) for one in inputs], pa.int32()))
        columns.append(pa.array([input_digest(document.text, document.pair) for document in documents], pa.binary(16)))
        for number, kept in enumerate(self.spec.corpus.keep):
            columns.append(_kept_column(documents, number, kept, warnings))
        return pa.Table.from_arrays(columns, schema=self.schema)

    def _features(self, order: npt.NDArray[np.intp]) -> list[pa.ChunkedArray]:
        """The columns of all features, in the spec's order; rows as ``order`` says."""
        made: dict[int, list[list[pa.Array]]] = {id(feature): [] for feature in self.spec.features}
        for chunk in self.chunks:
            alive = self.work.places(chunk.documents)
            if len(alive):
                for features, kept in zip(self.features, chunk.passes, strict=True):
                    for number, feature in enumerate(features):
                        made[id(feature.spec)].append(feature.columns(*kept.values(number, alive)))
        columns = [
            pa.chunked_array(pieces) for spec in self.spec.features for pieces in zip(*made[id(spec)], strict=True)
        ]
        in_order = len(order) == len(columns[0]) and bool((order == np.arange(len(order))).all())
        return columns if in_order else [column.take(pa.array(order)) for column in columns]


def _kept_column(documents: Sequence[Document], number: int, kept: KeptColumn, warnings: list[Reject]) -> pa.Array:
    """A kept column; a value that does not fit its type becomes null, with a warning."""
    dtype = kept.field.type
    values = [document.kept[number] for document in documents]
    try:
        return pa.array(values, dtype)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        for index, value in enumerate(values):
            try:
                pa.scalar(value, dtype)
            except (pa.ArrowException, TypeError, ValueError, OverflowError):
                values[index] = None
                detail = f"Column {kept.name}: a value is no {kept.type}, it became null."
                warnings.append(reject_of(documents[index], Stage.WARNING, Reason.KEPT_VALUE, detail))
        return pa.array(values, dtype)
