"""Record batches of a Parquet file from a row on; a damaged file is used up to the page that cannot be decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.corpus.evidence import DamagedFile, first_line

DAMAGE = (pa.ArrowException, OSError, MemoryError, ValueError, OverflowError)
"""What pyarrow raises on bytes that are not what they should be."""

_BATCH_BYTES = 16 * 2**20
_BATCH_ROWS = 8192
# Lengths in a damaged footer must not become allocations.
_THRIFT_STRING_BYTES = 64 * 2**20
_THRIFT_ITEMS = 4 * 2**20
_READ_BYTES = 2**20


def parquet_batches(path: str, columns: Sequence[str], row: int) -> Iterator[pa.RecordBatch]:
    """The rows of a file from ``row`` on, of those columns that it has. Raises DamagedFile after all good rows."""
    first = 0
    try:
        file = _open(path)
        groups = [file.metadata.row_group(index) for index in range(file.num_row_groups)]
        present = [name for name in columns if name in file.schema_arrow.names]
    except DAMAGE as error:
        raise damage(error, 0) from error
    with file:
        for index, group in enumerate(groups):
            rows = max(0, group.num_rows)
            if first + rows > row:
                size = max(1, min(_BATCH_ROWS, rows * _BATCH_BYTES // max(1, group.total_byte_size)))
                for batch in _group_batches(path, file, index, present, max(0, row - first), size, first):
                    yield batch
                    row = max(row, first) + batch.num_rows
                if row != first + rows:
                    raise DamagedFile(row, 0, f"row group {index} has {row - first} rows, its footer says {rows}")
            first += rows


def parquet_schema(path: str) -> pa.Schema | None:
    """The schema of a file, or None where its footer cannot be read."""
    try:
        with _open(path) as file:
            return file.schema_arrow
    except DAMAGE as error:
        surroundings(error)
        return None


def surroundings(error: BaseException) -> None:
    """Raise an error of the file system again: only it has a number. What is left is the file's own damage."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error


def damage(error: BaseException, row: int) -> DamagedFile:
    """The damage that an error of pyarrow stands for; an error of the file system is raised again."""
    surroundings(error)
    return DamagedFile(row, 0, first_line(error))


def _open(path: str) -> pq.ParquetFile:
    return pq.ParquetFile(
        path,
        buffer_size=_READ_BYTES,
        thrift_string_size_limit=_THRIFT_STRING_BYTES,
        thrift_container_size_limit=_THRIFT_ITEMS,
    )


def _group_batches(
    path: str, file: pq.ParquetFile, index: int, columns: list[str], skip: int, size: int, first: int
) -> Iterator[pa.RecordBatch]:
    """The rows of one row group after the first ``skip``; ``first`` is the row that the group begins with."""
    given = skip
    try:
        for batch in _decoded(file, index, columns, skip, size):
            yield batch
            given += batch.num_rows
        return
    except DAMAGE as error:
        surroundings(error)
    # The batch that holds the damage is lost as a whole: once more, row by row.
    try:
        with _open(path) as again:
            for batch in _decoded(again, index, columns, given, 1):
                yield batch
                given += batch.num_rows
    except DAMAGE as error:
        raise damage(error, first + given) from error


def _decoded(file: pq.ParquetFile, index: int, columns: list[str], skip: int, size: int) -> Iterator[pa.RecordBatch]:
    for batch in file.iter_batches(size, row_groups=[index], columns=columns, use_threads=False):
        if skip >= batch.num_rows:
            skip -= batch.num_rows
            continue
        yield batch.slice(skip)
        skip = 0
