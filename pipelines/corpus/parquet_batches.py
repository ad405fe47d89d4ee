"""Record batches of a Parquet file from a row on; a damaged file is used up to the page that cannot be decoded."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.corpus.arrow_values import legible
from pipelines.corpus.bombs import rows_fault
from pipelines.corpus.evidence import DamagedFile, first_line
from pipelines.corpus.parquet_limits import RefusedGroupError, batch_rows, known_places, used_leaves
from pipelines.corpus.regular import check_regular, open_regular

DAMAGE = (pa.ArrowException, OSError, MemoryError, ValueError, OverflowError)
"""What pyarrow raises on bytes that are not what they should be."""

# Lengths in a damaged footer must not become allocations.
_THRIFT_STRING_BYTES = 64 * 2**20
_THRIFT_ITEMS = 4 * 2**20
_READ_BYTES = 2**20


def parquet_batches(path: str, columns: Sequence[str], row: int) -> Generator[pa.RecordBatch, None, None]:
    """The rows of a file from ``row`` on, of those columns that it has. Raises DamagedFile after all good rows."""
    first = 0
    try:
        with open_regular(path) as source, _open_for(path, columns) as file:
            if fault := rows_fault(file.metadata.num_rows, os.fstat(source.fileno()).st_size):
                raise DamagedFile(0, 0, fault)
            groups = [max(0, file.metadata.row_group(index).num_rows) for index in range(file.num_row_groups)]
            present = [name for name in columns if name in file.schema_arrow.names]
            places = known_places(source)
            for index, rows in enumerate(groups):
                if first + rows > row:
                    size = batch_rows(source, file, places, index, present)
                    for batch in _group_batches(path, file, index, present, max(0, row - first), size, first):
                        yield batch
                        row = max(row, first) + batch.num_rows
                    if row != first + rows:
                        raise DamagedFile(row, 0, f"row group {index} has {row - first} rows, its footer says {rows}")
                first += rows
    except RefusedGroupError as error:
        raise DamagedFile(first, 0, str(error)) from error
    except DAMAGE as error:
        raise damage(error, first) from error


def parquet_schema(path: str) -> pa.Schema | None:
    """The schema of a file, or None where its footer cannot be read."""
    try:
        with open_parquet(path) as file:
            return legible(file.schema_arrow)
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


def _open_for(path: str, columns: Sequence[str]) -> pq.ParquetFile:
    """The file, set up so that text in lists stays as it is stored: one row could use its dictionary without end."""
    file = open_parquet(path)
    leaves = [file.schema.column(index) for index in used_leaves(file.schema, columns)]
    listed = [leaf.path for leaf in leaves if leaf.max_repetition_level > 0 and leaf.physical_type == "BYTE_ARRAY"]
    if not listed:
        return file
    file.close()
    return open_parquet(path, listed)


def open_parquet(path: str, dictionaries: Sequence[str] = ()) -> pq.ParquetFile:
    """A file, with limits on its footer; ``dictionaries`` are columns that stay as they are stored."""
    check_regular(path)
    return pq.ParquetFile(
        path,
        read_dictionary=dictionaries,
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
        with open_parquet(path) as again:
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
