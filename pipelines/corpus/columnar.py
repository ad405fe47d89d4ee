"""Parquet and Arrow: a row is a document. Only the columns that are used are read, a few megabytes at a time.

Parquet is entered at the row group that holds the row; Arrow batches before it are passed by.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from pipelines.corpus.arrow_batches import arrow_batches, arrow_schema
from pipelines.corpus.arrow_values import (
    ARROW_ERRORS,
    attached_values,
    id_values,
    plain_array,
    python_values,
    text_values,
)
from pipelines.corpus.dotted import dotted, dotted_arrays, with_heads
from pipelines.corpus.evidence import DamagedFile, first_line
from pipelines.corpus.expanded import expanded_bytes, shares
from pipelines.corpus.mapping import ColumnMapping, Step
from pipelines.corpus.parquet_batches import parquet_schema
from pipelines.corpus.parquet_resume import resumed_batches
from pipelines.spec import CorpusSpec, Format, Shard

_SLICE_BYTES = 8 * 2**20
_SLICE_ROWS = 1024
_ROW_BYTES = 256 * 2**20


def read(shard: Shard, spec: CorpusSpec, mapping: ColumnMapping, offset: int, _line: int) -> Iterator[Step]:
    """The items of a file from a row on; rows have no lines. Raises DamagedFile after all that could be read."""
    texts = [*spec.text_columns, *filter(None, (spec.pair_column,))]
    used = with_heads(spec.used_columns)
    inside = dotted(spec.used_columns)
    batches = resumed_batches if shard.format is Format.PARQUET else arrow_batches
    document = mapping.document
    row = offset
    for batch in batches(shard.uri, used, offset):
        for part in _convertible(batch, row):
            columns = _plain_columns(part)
            columns |= dotted_arrays(columns, inside)
            names, rows = _rows(columns, texts, spec, part.num_rows)
            kept = _kept(columns, [kept.column for kept in spec.keep], part.num_rows)
            for values, kept_values in zip(rows, kept, strict=True):
                yield document(dict(zip(names, values, strict=True)), row, 0, None, kept_values), row + 1, 0, 0
                row += 1


def schema(shard: Shard) -> pa.Schema | None:
    """The schema of a file, or None where it is damaged."""
    return parquet_schema(shard.uri) if shard.format is Format.PARQUET else arrow_schema(shard.uri)


def _convertible(batch: pa.RecordBatch, row: int) -> Iterator[pa.RecordBatch]:
    """Parts small enough to become Python values. Raises DamagedFile at a row that no part can hold."""
    rows = batch.num_rows
    size = max(1, min(_SLICE_ROWS, rows * _SLICE_BYTES // max(1, batch.get_total_buffer_size())))
    shared = any(map(shares, batch.schema.types))
    for begin in range(0, rows, size):
        part = batch.slice(begin, size)
        if not shared:
            yield part
        else:
            yield from _expandable(part, row + begin)


def _expandable(part: pa.RecordBatch, row: int) -> Iterator[pa.RecordBatch]:
    """Parts of rows that share values, small enough when each has its own; halved until they are."""
    waiting = [part]
    while waiting:
        part = waiting.pop()
        detail = _fault(part)
        if not detail:
            yield part
            row += part.num_rows
        elif part.num_rows == 1:
            raise DamagedFile(row, 0, detail)
        else:
            half = part.num_rows // 2
            waiting += [part.slice(half), part.slice(0, half)]


def _fault(part: pa.RecordBatch) -> str:
    """Why rows cannot become values of their own, or nothing. Other columns were checked where they were read."""
    try:
        size = sum(expanded_bytes(column) for column in part.columns if shares(column.type))
        limit = _SLICE_BYTES if part.num_rows > 1 else _ROW_BYTES
        if size > limit:
            return f"decompression bomb? one row has {size} bytes of values, at most {limit} are read"
        _plain_columns(part)
    except ARROW_ERRORS as error:
        return "a dictionary index is out of bounds" if isinstance(error, IndexError) else first_line(error)
    return ""


def _plain_columns(part: pa.RecordBatch) -> dict[str, pa.Array]:
    return dict(zip(part.schema.names, map(plain_array, part.columns), strict=True))


def _rows(
    columns: dict[str, pa.Array], texts: Sequence[str], spec: CorpusSpec, count: int
) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
    """The names and rows of the columns that become text, id and what is attached, as Python values."""
    lists = {name: text_values(columns[name]) for name in texts if name in columns}
    if spec.id_column is not None and spec.id_column in columns and spec.id_column not in lists:
        lists[spec.id_column] = id_values(columns[spec.id_column])
    for one in spec.attached:
        if one.column in columns and one.column not in lists:
            lists[one.column] = attached_values(columns[one.column])
    return list(lists), zip(*lists.values(), strict=True) if lists else iter([()] * count)


def _kept(columns: dict[str, pa.Array], names: Sequence[str], count: int) -> Iterator[tuple[Any, ...]]:
    if not names:
        return iter([()] * count)
    lists = [python_values(columns[name]) if name in columns else [None] * count for name in names]
    return zip(*lists, strict=True)
