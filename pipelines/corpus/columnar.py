"""Parquet and Arrow: a row is a document. Only the columns that are used are read, a few megabytes at a time.

Parquet is entered at the row group that holds the row; Arrow batches before it are passed by.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from pipelines.corpus.arrow_batches import arrow_batches, arrow_schema
from pipelines.corpus.arrow_values import id_values, plain_array, python_values, text_values
from pipelines.corpus.mapping import ColumnMapping, Step
from pipelines.corpus.parquet_batches import parquet_batches, parquet_schema
from pipelines.spec import CorpusSpec, Format, Shard

_SLICE_BYTES = 8 * 2**20
_SLICE_ROWS = 1024


def read(shard: Shard, spec: CorpusSpec, mapping: ColumnMapping, offset: int, _line: int) -> Iterator[Step]:
    """The items of a file from a row on; rows have no lines. Raises DamagedFile after all that could be read."""
    texts = [*spec.text_columns, *filter(None, (spec.pair_column,))]
    used = list(dict.fromkeys([*texts, *filter(None, (spec.id_column,)), *(kept.column for kept in spec.keep)]))
    batches = parquet_batches if shard.format is Format.PARQUET else arrow_batches
    document = mapping.document
    row = offset
    for batch in batches(shard.uri, used, offset):
        for part in _slices(batch):
            columns = dict(zip(part.schema.names, map(plain_array, part.columns), strict=True))
            names, rows = _rows(columns, texts, spec.id_column, part.num_rows)
            kept = _kept(columns, [kept.column for kept in spec.keep], part.num_rows)
            for values, kept_values in zip(rows, kept, strict=True):
                yield document(dict(zip(names, values, strict=True)), row, 0, None, kept_values), row + 1, 0, 0
                row += 1


def schema(shard: Shard) -> pa.Schema | None:
    """The schema of a file, or None where it is damaged."""
    return parquet_schema(shard.uri) if shard.format is Format.PARQUET else arrow_schema(shard.uri)


def _slices(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Parts small enough to become Python values."""
    rows = batch.num_rows
    size = max(1, min(_SLICE_ROWS, rows * _SLICE_BYTES // max(1, batch.get_total_buffer_size())))
    for begin in range(0, rows, size):
        yield batch.slice(begin, size)


def _rows(
    columns: dict[str, pa.Array], texts: Sequence[str], id_column: str | None, count: int
) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
    """The names and rows of the columns that become text and id, as Python values."""
    lists = {name: text_values(columns[name]) for name in texts if name in columns}
    if id_column is not None and id_column in columns and id_column not in lists:
        lists[id_column] = id_values(columns[id_column])
    return list(lists), zip(*lists.values(), strict=True) if lists else iter([()] * count)


def _kept(columns: dict[str, pa.Array], names: Sequence[str], count: int) -> Iterator[tuple[Any, ...]]:
    if not names:
        return iter([()] * count)
    lists = [python_values(columns[name]) if name in columns else [None] * count for name in names]
    return zip(*lists, strict=True)
