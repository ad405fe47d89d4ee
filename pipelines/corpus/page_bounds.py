"""How much text the rows of a Parquet file can have at most, by the headers of its pages and the longest dictionary
entry of each column chunk. No data page is decoded but the first of a chunk with a dictionary.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.corpus.bombs import rows_fault
from pipelines.corpus.parquet_batches import DAMAGE, open_parquet
from pipelines.corpus.parquet_limits import RefusedGroupError, batch_rows, known_places, used_leaves
from pipelines.corpus.parquet_pages import (
    DICTIONARY_PAGE,
    PLAIN_DICTIONARY,
    RLE_DICTIONARY,
    BadPageError,
    Page,
    pages,
)
from pipelines.corpus.regular import open_regular
from pipelines.corpus.scan import UnscannableError

_PLAIN, _DELTA_LENGTH = 0, 6


class _Pages(NamedTuple):
    """The data pages of a chunk: the first row of each (and the end), and the most that each, or a row of it, holds."""

    starts: npt.NDArray[np.int64]
    whole: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]


def planned_rows(path: str) -> int:
    """The rows that a file's footer promises. Raises UnscannableError where it cannot be read."""
    try:
        with open_parquet(path) as file:
            return sum(max(0, file.metadata.row_group(index).num_rows) for index in range(file.num_row_groups))
    except DAMAGE as error:
        raise UnscannableError(str(error)) from error


class TextBounds:
    """Rows of a file, and upper bounds of their text. ``texts`` are the columns of text, ``used`` all that are read.

    Raises UnscannableError for a file whose rows or text can only be told by reading it.
    """

    def __init__(self, path: str, texts: Sequence[str], used: Sequence[str]) -> None:
        self._path = path
        self._source = open_regular(path)
        try:
            self._file = open_parquet(path)
            self._present = [name for name in dict.fromkeys(used) if name in self._file.schema_arrow.names]
            if not self._present:
                raise UnscannableError("it has none of the columns")
            if fault := rows_fault(self._file.metadata.num_rows, os.fstat(self._source.fileno()).st_size):
                raise UnscannableError(fault)
            self._texts = [name for name in texts if name in self._present]
            counts = [self._file.metadata.row_group(index).num_rows for index in range(self._file.num_row_groups)]
        except DAMAGE as error:
            self._source.close()
            raise UnscannableError(str(error)) from error
        self._groups = np.cumsum([0, *(max(0, count) for count in counts)])
        self._places = known_places(self._source)
        self._known: dict[int, list[_Pages]] = {}
        self.rows = int(self._groups[-1])

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._source.close()

    def text_bytes(self, begin: int, end: int) -> int:
        """The most that the texts of rows [begin, end) can have, in bytes. Raises UnscannableError."""
        if begin >= end:
            return 0
        separators = (len(self._texts) - 1) * (end - begin)
        first, last = np.searchsorted(self._groups, [begin, end - 1], side="right") - 1
        total = max(0, separators)
        for group in range(int(first), int(last) + 1):
            offset = int(self._groups[group])
            for chunk in self._chunks(group):
                total += _bound(chunk, max(0, begin - offset), min(end, int(self._groups[group + 1])) - offset)
        return total

    def _chunks(self, group: int) -> list[_Pages]:
        if group not in self._known:
            self._known.clear()  # a scan goes on, never back
            try:
                batch_rows(self._source, self._file, self._places, group, self._present)
                self._known[group] = [self._pages(group, name) for name in self._texts if self._has_text(name)]
            except (RefusedGroupError, BadPageError, IndexError, *DAMAGE) as error:
                raise UnscannableError(str(error)) from error
        return self._known[group]

    def _has_text(self, name: str) -> bool:
        """Whether the values of a column can be text: of all others the reader makes rejects."""
        leaves = [self._file.schema.column(leaf) for leaf in used_leaves(self._file.schema, [name])]
        if [leaf.path for leaf in leaves] != [name] or leaves[0].max_repetition_level:
            raise UnscannableError(f"column {name!r} is no plain column")
        return leaves[0].physical_type in ("BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY")

    def _pages(self, group: int, name: str) -> _Pages:
        (leaf,) = used_leaves(self._file.schema, [name])
        found = list(pages(self._source, *self._places[group][leaf]))
        data = [page for page in found if page.kind != DICTIONARY_PAGE and page.values]
        starts = np.cumsum([0, *(page.values for page in data)])
        if starts[-1] != self._groups[group + 1] - self._groups[group]:
            raise UnscannableError(f"column {name!r} has not one value for each row")
        coded = [page.encoding in (PLAIN_DICTIONARY, RLE_DICTIONARY) for page in data]
        if not all(code or page.encoding in (_PLAIN, _DELTA_LENGTH) for code, page in zip(coded, data, strict=True)):
            raise UnscannableError(f"column {name!r} has an encoding whose pages do not tell their text")
        longest = self._longest(group, name, data) if any(coded) else 0
        whole = [longest * page.values if code else page.size for code, page in zip(coded, data, strict=True)]
        row = [longest if code else page.size for code, page in zip(coded, data, strict=True)]
        return _Pages(starts, np.array(whole, np.int64), np.array(row, np.int64))

    def _longest(self, group: int, name: str, data: list[Page]) -> int:
        """The longest entry of a chunk's dictionary. Its first row is read for that: the dictionary comes along."""
        if data[0].encoding not in (PLAIN_DICTIONARY, RLE_DICTIONARY):
            raise UnscannableError(f"column {name!r} begins without its dictionary")
        with open_parquet(self._path, [name]) as file:
            batch = next(file.iter_batches(1, row_groups=[group], columns=[name], use_threads=False))
        column: Any = batch.column(0)
        if isinstance(column, pa.ExtensionArray):
            column = column.storage
        if not isinstance(column, pa.DictionaryArray):
            raise UnscannableError(f"column {name!r} shows no dictionary")
        return int(pc.max(pc.binary_length(column.dictionary)).as_py() or 0)


def _bound(chunk: _Pages, begin: int, end: int) -> int:
    """The most that rows [begin, end) of a row group can have in one column."""
    first, last = np.searchsorted(chunk.starts, [begin, end - 1], side="right") - 1
    touched = slice(int(first), int(last) + 1)
    starts = chunk.starts[first : last + 2]
    rows = np.minimum(starts[1:], end) - np.maximum(starts[:-1], begin)
    return int(np.minimum(chunk.whole[touched], rows * chunk.row[touched]).sum())
