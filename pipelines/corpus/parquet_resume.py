"""Reading on in a row group where an earlier reading was left, instead of decoding it from its start again.

Who reads single batches of a large row group, one here and one there but always further on, decodes it once that way.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa

from pipelines.corpus.parquet_batches import DAMAGE, open_parquet, parquet_batches


class _Left(NamedTuple):
    """A reading that was left: its batches to come, the first of them, and the row which that begins with."""

    batches: Generator[pa.RecordBatch, None, None]
    first: pa.RecordBatch
    row: int


_left: dict[tuple[object, ...], _Left] = {}
"""At most one, by file (as it was then) and columns."""


def resumed_batches(path: str, columns: Sequence[str], row: int) -> Iterator[pa.RecordBatch]:
    """As :func:`~pipelines.corpus.parquet_batches.parquet_batches`."""
    status = os.stat(path)
    key = (path, tuple(columns), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    left = _left.pop(key, None)
    if left is not None and left.row <= row and _same_group(path, left.row, row):
        batches, batch, place = left
    else:
        batches, place = parquet_batches(path, columns, row), row
        batch = next(batches, None)
    while batch is not None:
        after = place + batch.num_rows
        if after > row:
            try:
                yield batch.slice(max(0, row - place))
            except GeneratorExit:
                _left.clear()
                _left[key] = _Left(batches, batch, place)
                raise
        batch, place = next(batches, None), after


def _same_group(path: str, row: int, other: int) -> bool:
    try:
        with open_parquet(path) as file:
            end = 0
            for index in range(file.num_row_groups):
                end += max(0, file.metadata.row_group(index).num_rows)
                if row < end:
                    return bool(other < end)
    except DAMAGE:
        pass
    return False
