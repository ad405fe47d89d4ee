"""Parquet and Arrow: a row is a document. Only the columns that are used are read, a few megabytes at a time.

Parquet is entered at the row group that holds the row; Arrow batches before it are passed by.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from pipelines.corpus.arrow_batches import arrow_batches, arrow_schema
from pipelines.corpus.arrow_values import ARROW_ERRORS, id_values, plain_array, python_values, text_values
from pipelines.corpus.evidence import DamagedFile
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
        for part in _convertible(batch, row):
            columns = _plain_columns(part)
            names, rows = _rows(columns, texts, spec.id_column, part.num_rows)
            kept = _kept(columns, [kept.column for kept in spec.keep], part.num_rows)
            for values, kept_values in zip(rows, kept, strict=True):
                yield document(dict(zip(names, values, strict=True)), row, 0, None, kept_values), row + 1, 0, 0
                row += 1


def schema(shard: Shard) -> pa.Schema | None:
    """The schema of a file, or None where it is damaged."""
    return parquet_schema(shard.uri) if shard.format is Format.PARQUET else arrow_schema(shard.uri)


def _convertible(batch: pa.RecordBatch, row: int) -> Iterator[pa.RecordBatch]:
    """Parts small enough to become Python values. Raises DamagedFile at a dictionary index that is out of bounds."""
    rows = batch.num_rows
    size = max(1, min(_SLICE_ROWS, rows * _SLICE_BYTES // max(1, batch.get_total_buffer_size())))
    for begin in range(0, rows, size):
        part = batch.slice(begin, size)
        if _is_sound(part):
            yield part
            continue
        for index in range(part.num_rows):
            single = part.slice(index, 1)
            if not _is_sound(single):
                raise DamagedFile(row + begin + index, 0, "a dictionary index is out of bounds")
            yield single


def _is_sound(part: pa.RecordBatch) -> bool:
    """Whether dictionaries can be decoded. Other columns were checked where they were read."""
    try:
        _plain_columns(part)
    except ARROW_ERRORS:
        return False
    return True


def _plain_columns(part: pa.RecordBatch) -> dict[str, pa.Array]:
    return dict(zip(part.schema.names, map(plain_array, part.columns), strict=True))


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
