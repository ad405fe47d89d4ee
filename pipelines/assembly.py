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
from pipelines.recall import Recall, facts_at
from pipelines.spec import KeptColumn, Long, RunSpec
from pipelines.work import Work


@dataclass(frozen=True, slots=True)
class Extracted:
    """What became of a batch: its rows and its rejects (reading's and extraction's), both in corpus order.

    Counts are over the rows: ``tokens`` before cutting, ``tokens_used`` after, ``truncated`` the documents cut,
    ``repeated`` those that were not computed because an earlier one has the same text.
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
    recall: Recall | None = None
    """Where what was computed is remembered, if it is."""

    def assemble(self) -> Extracted:
        """The batch's rows and rejects. No device is needed for it."""
        work, warnings = self.work, list(self.batch.warnings)
        alive = work.alive()
        facts = self._facts(alive)
        numbers = iter(range(len(work.documents)))
        found = (item if isinstance(item, Reject) else work.rejected.get(next(numbers)) for item in self.batch.items)
        tokens, used = facts["n_tokens"].to_numpy(), facts["n_used"].to_numpy()
        return Extracted(
            table=self._table([work.documents[index] for index in alive], facts, warnings),
            rejects=[reject for reject in found if reject is not None],
            warnings=warnings,
            tokens=int(tokens.sum()),
            tokens_used=int(used.sum()),
            truncated=int((used < tokens).sum()),
            repeated=sum(index not in work.rejected for index in (*work.repeats, *work.recalled)),
        )

    def _facts(self, alive: npt.NDArray[np.intp]) -> pa.Table:
        """The columns that depend on a document's text alone, one row for each of these documents."""
        pieces, there = [], list[int]()
        for chunk in self.chunks:
            places = self.work.places(chunk.documents)
            if len(places):
                pieces.append(self._computed(chunk, places))
                there += chunk.documents[places].tolist()
        if self.recall is not None and pieces:
            documents = [self.work.documents[index] for index in there]
            digests = [input_digest(document.text, document.pair) for document in documents]
            self.recall.add(digests, pa.concat_tables(pieces).combine_chunks())
        if self.work.recalled:
            pieces.append(facts_at([*self.work.recalled.values()]))
            there += self.work.recalled
        if not pieces:
            return self._fact_schema().empty_table()
        facts = pa.concat_tables(pieces)
        rows = {index: row for row, index in enumerate(there)}
        order = np.array([rows[index] for index in self.work.sources(alive).tolist()], np.intp)
        in_order = len(order) == len(facts) and bool((order == np.arange(len(order))).all())
        return facts if in_order else facts.take(pa.array(order))

    def _fact_schema(self) -> pa.Schema:
        names = [name for feature in self.spec.features for name in feature.columns]
        names += ["n_tokens", "n_used", *(["n_windows"] if self.spec.long.policy is Long.WINDOW else [])]
        return pa.schema([self.schema.field(name) for name in names])

    def _computed(self, chunk: Chunk, places: npt.NDArray[np.intp]) -> pa.Table:
        """What a chunk's documents at these places have come to."""
        made: dict[int, list[pa.Array]] = {}
        for features, kept in zip(self.features, chunk.passes, strict=True):
            for number, feature in enumerate(features):
                made[id(feature.spec)] = feature.columns(*kept.values(number, places))
        inputs = [chunk.measured[place] for place in places.tolist()]
        columns = [column for feature in self.spec.features for column in made[id(feature)]]
        columns += [pa.array([one.n_tokens for one in inputs], pa.int32())]
        columns += [pa.array([one.n_used for one in inputs], pa.int32())]
        if self.spec.long.policy is Long.WINDOW:
            columns.append(pa.array([len(one.rows) for one in inputs], pa.int32()))
        return pa.Table.from_arrays(columns, schema=self._fact_schema())

    def _table(self, documents: Sequence[Document], facts: pa.Table, warnings: list[Reject]) -> pa.Table:
        digests = [input_digest(document.text, document.pair) for document in documents]
        columns = [pa.array([document.id for document in documents], pa.string()), *facts.columns]
        columns.append(pa.array(digests, pa.binary(16)))
        for number, kept in enumerate(self.spec.corpus.keep):
            columns.append(_kept_column(documents, number, kept, warnings))
        return pa.Table.from_arrays(columns, schema=self.schema)


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
