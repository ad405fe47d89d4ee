"""How many rows of a Parquet row group may be read at once, and row groups that may not be read at all.

A page of a kilobyte can hold a million values of a megabyte: a dictionary says each value once, and DELTA_BYTE_ARRAY
says of each value only how it differs from the one before. So the rows of a batch are as many as fit into memory if
each had the largest value that its column could have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, Any

import pyarrow.parquet as pq

from pipelines.corpus.bombs import bytes_fault
from pipelines.corpus.parquet_pages import (
    DELTA_BYTE_ARRAY,
    DICTIONARY_PAGE,
    PLAIN_DICTIONARY,
    RLE_DICTIONARY,
    BadPageError,
    Chunk,
    Page,
    pages,
    row_groups,
)

MAX_BATCH_ROWS = 8192

_BATCH_BYTES = 16 * 2**20
_WORST_BATCH_BYTES = 256 * 2**20
_PAGE_BYTES = 2**30
_PAGE_VALUES = 2**24
_CAREFUL_ROWS = 64


def known_places(source: IO[bytes]) -> list[list[Chunk]]:
    """Where the columns lie; nothing where the footer does not say it well."""
    try:
        return row_groups(source)
    except BadPageError:
        return []


class RefusedGroupError(Exception):
    """A row group that is not read; the message says why."""


def used_leaves(schema: Any, columns: Sequence[str]) -> list[int]:
    """The leaf columns (a nested column has several) of some columns."""
    paths = [schema.column(index).path for index in range(len(schema))]
    return [
        index
        for index, path in enumerate(paths)
        if any(path == name or path.startswith(name + ".") for name in columns)
    ]


def batch_rows(
    source: IO[bytes], file: pq.ParquetFile, places: list[list[Chunk]], index: int, columns: Sequence[str]
) -> int:
    """The rows of row group ``index`` that may be read at once. ``places`` are those of all columns, if known.

    Raises RefusedGroupError.
    """
    group = file.metadata.row_group(index)
    rows = max(1, int(group.num_rows))
    worst = size = packed = 0
    leaves = used_leaves(file.schema, columns)
    for leaf in leaves:
        repeated = file.schema.column(leaf).max_repetition_level > 0
        try:
            found = _chunk_pages(source, places[index][leaf], file.schema.column(leaf).path)
        except (BadPageError, IndexError):
            # Damaged: the reader will come to the place, and everything before it is good.
            return _CAREFUL_ROWS
        worst += _largest_row(found, repeated=repeated)
        size += sum(page.size for page in found)
        packed += sum(page.packed for page in found)
    if fault := bytes_fault(size, packed):
        raise RefusedGroupError(f"row group {index}: {fault}")
    usual = rows * _BATCH_BYTES // max(1, size)
    return max(1, min(MAX_BATCH_ROWS, usual, _WORST_BATCH_BYTES // max(1, worst)))


def _chunk_pages(source: IO[bytes], chunk: Chunk, column: str) -> list[Page]:
    found = []
    for page in pages(source, *chunk):
        fault = bytes_fault(page.size, page.packed)
        if page.size > _PAGE_BYTES:
            fault = f"it has {page.size} bytes, at most {_PAGE_BYTES} are read; write it with smaller pages"
        elif page.values > max(_PAGE_VALUES, 100 * page.size):
            fault = f"decompression bomb? it says that it has {page.values} values in {page.size} bytes"
        if fault:
            raise RefusedGroupError(f"a page of column {column!r}: {fault}")
        found.append(page)
    return found


def _largest_row(found: list[Page], *, repeated: bool) -> int:
    """An upper bound of the bytes of one row. ``repeated``: a row may have many values, at most a page of them."""
    dictionary = max((page.size for page in found if page.kind == DICTIONARY_PAGE), default=0)
    largest = 0
    for page in found:
        if page.kind == DICTIONARY_PAGE:
            continue
        if page.encoding in (PLAIN_DICTIONARY, RLE_DICTIONARY) and not repeated:
            bound = dictionary
        elif page.encoding == DELTA_BYTE_ARRAY or repeated:
            bound = page.size
        else:
            bound = page.size // max(1, page.values)
        largest = max(largest, bound)
    return largest
