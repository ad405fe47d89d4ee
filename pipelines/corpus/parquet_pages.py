"""The page headers of a Parquet column: how much its pages hold, before anything is made of them.

A footer can lie about sizes, and says nothing about single pages. The headers are what a reader allocates by. They are
written in Thrift's compact protocol (https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md),
their fields are those of https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any, NamedTuple

DICTIONARY_PAGE = 2
PLAIN_DICTIONARY, DELTA_BYTE_ARRAY, RLE_DICTIONARY = 2, 7, 8

_WINDOW_BYTES = 4 * 1024
_HEADER_BYTES = 16 * 2**20  # what Arrow reads of one
_FIELDS = 64
_PAGES = 2**16
_KIND_HEADERS = {0: 5, 2: 7, 3: 8}  # page type: the field that describes it
_ENCODING_FIELD = {0: 2, 2: 2, 3: 4}
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12


class BadPageError(Exception):
    """A page header is none."""


class Page(NamedTuple):
    """One page: its type and encoding by their numbers in the format, its bytes, and its values with nulls."""

    kind: int
    encoding: int
    size: int
    packed: int
    values: int


def pages(file: IO[bytes], start: int, end: int, values: int) -> Iterator[Page]:
    """The pages of a column chunk that lies from ``start`` to ``end`` and has ``values`` values.

    Raises BadPageError.
    """
    if not 0 <= start <= end:
        raise BadPageError("a column lies outside of the file")
    seen = count = 0
    while seen < values and start < end:
        count += 1
        if count > _PAGES:
            raise BadPageError(f"a column has over {_PAGES} pages in one row group")
        fields, header_bytes = _header(file, start, end)
        page = _page(fields)
        start += header_bytes + page.packed
        if start > end:
            raise BadPageError("a page ends after its column")
        if page.kind != DICTIONARY_PAGE:
            seen += page.values
        yield page


def _page(fields: dict[int, Any]) -> Page:
    kind = fields.get(1)
    described = fields.get(_KIND_HEADERS.get(kind, 0)) if isinstance(kind, int) else None
    size, packed = fields.get(2), fields.get(3)
    if isinstance(kind, int) and kind not in _KIND_HEADERS and isinstance(packed, int) and packed >= 0:
        return Page(kind, 0, 0, packed, 0)  # an index, which readers pass by
    if not (
        isinstance(kind, int) and isinstance(described, dict) and isinstance(size, int) and isinstance(packed, int)
    ):
        raise BadPageError("a page header lacks a field")
    values, encoding = described.get(1), described.get(_ENCODING_FIELD[kind])
    if not (isinstance(values, int) and isinstance(encoding, int)) or min(size, packed, values) < 0:
        raise BadPageError("a page header has a wrong number")
    return Page(kind, encoding, size, packed, values)


def _header(file: IO[bytes], start: int, end: int) -> tuple[dict[int, Any], int]:
    """The fields of the header at a place, and its length."""
    window = _WINDOW_BYTES
    while True:
        file.seek(start)
        data = file.read(min(window, end - start))
        try:
            reader = _Compact(data)
            return reader.struct(), reader.place
        except IndexError:
            if window >= min(_HEADER_BYTES, end - start):
                raise BadPageError("a page header does not end") from None
            window *= 8


class Chunk(NamedTuple):
    """Where a column of a row group lies, and how many values it has."""

    start: int
    end: int
    values: int


def row_groups(file: IO[bytes]) -> list[list[Chunk]]:
    """The columns of all row groups by the file's footer, in the order of the leaves of its schema.

    pyarrow could say the same, but ends the process where a column's statistics contradict each other.
    Raises BadPageError.
    """
    size = file.seek(0, 2)
    file.seek(max(0, size - 8))
    length = int.from_bytes(file.read(4), "little")
    if length + 8 > size:
        raise BadPageError("the footer has no length")
    file.seek(size - 8 - length)
    try:
        groups = _Compact(file.read(length), footer=True).struct()[4]
        return [[_chunk(column[3]) for column in group[1]] for group in groups]
    except (IndexError, KeyError, TypeError, RecursionError) as error:
        raise BadPageError("the footer lacks a field") from error


def _chunk(column: dict[int, Any]) -> Chunk:
    start, dictionary = column[9], column.get(11, 0)
    if 0 < dictionary < start:
        start = dictionary
    return Chunk(start, start + column[7], column[5])


class _Compact:
    """Values of Thrift's compact protocol; IndexError at the end of the data."""

    def __init__(self, data: bytes, *, footer: bool = False) -> None:
        self._footer = footer
        self._data = data
        self._fields = 0
        self.place = 0

    def struct(self) -> dict[int, Any]:
        """Integers and structs by field number; everything else is passed by."""
        fields: dict[int, Any] = {}
        number = 0
        while kind := self._byte():
            step = kind >> 4
            number = number + step if step else self._integer()
            self._fields += 1
            if self._fields > _FIELDS and not self._footer:  # this bounds their depth too
                raise BadPageError("a page header has too many fields")
            fields[number] = self._value(kind & 15)
        return fields

    def _value(self, kind: int) -> Any:
        if kind in (_TRUE, _FALSE):
            return None
        if kind == _BYTE:
            return self._byte()
        if kind in (_I16, _I32, _I64):
            return self._integer()
        if kind == _DOUBLE:
            return self._skip(8)
        if kind == _BINARY:
            return self._skip(self._varint())
        if kind == _STRUCT:
            return self.struct()
        if kind in (_LIST, _SET) and self._footer:
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._varint()
            if count > len(self._data):
                raise IndexError
            return [self._byte() if head & 15 in (_TRUE, _FALSE) else self._value(head & 15) for _ in range(count)]
        raise BadPageError("a page header has a field of an unknown kind")  # lists and maps: no page header has any

    def _byte(self) -> int:
        value = self._data[self.place]
        self.place += 1
        return value

    def _skip(self, count: int) -> None:
        self.place += count
        if self.place > len(self._data):
            raise IndexError

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise BadPageError("a page header has a number without end")

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
