"""What the messages of an Arrow file or stream say that their compressed buffers become, before any is decompressed.

Arrow allocates what each buffer's first eight bytes ask for. Messages are flatbuffers (tables found by offsets), laid
out as https://github.com/apache/arrow/blob/main/format/Message.fbs and File.fbs next to it say.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

from pipelines.corpus.bombs import bytes_fault

_CONTINUES = 0xFFFFFFFF
_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3
_METADATA_BYTES = 64 * 2**20
_BUFFERS = 2**16


class BadMessageError(ValueError):
    """A message is none, or becomes more than it may; the message says why."""


def check_next_batch(source: Any, fault: Callable[[int, int], str] = bytes_fault) -> None:
    """Look at a stream's messages up to its next record batch, and go back. Raises BadMessageError.

    ``fault`` says of the bytes that a message becomes, and of those that it has, what is wrong with them, if anything.
    """
    start = place = source.tell()
    try:
        while (found := _check_at(source, place, fault)) is not None:
            kind, place = found
            if kind == _RECORD_BATCH:
                return
    finally:
        source.seek(start)


def check_blocks(source: Any, *, dictionaries: bool) -> Iterator[None]:
    """Look at a file's record batches one by one, or at its dictionaries, as its footer lists them.

    Raises BadMessageError.
    """
    end = source.size() - 10  # the footer is followed by its length and the magic
    footer_bytes = _number(_at(source, end, 4), 0, "<i")
    if not 0 < footer_bytes <= end:
        raise BadMessageError("the footer has no length")
    footer = _at(source, end - footer_bytes, footer_bytes)
    vector = _vector(footer, _root(footer), 2 if dictionaries else 3, 24)
    for place in vector:
        _check_at(source, _number(footer, place, "<q"))
        yield


def _check_at(source: Any, place: int, fault: Callable[[int, int], str] = bytes_fault) -> tuple[int, int] | None:
    """The kind of the message at a place and where the next begins; None at the end of the stream."""
    head = _at(source, place, 8, short=True)
    if len(head) < 8:
        return None
    length = _number(head, 0, "<I")
    begin = place + 4
    if length == _CONTINUES:
        length, begin = _number(head, 4, "<I"), place + 8
    if length == 0:
        return None
    if length > _METADATA_BYTES:
        raise BadMessageError(f"a message says that it has {length} bytes of metadata")
    message = _at(source, begin, length)
    body = begin + length
    table = _root(message)
    kind, header = _scalar(message, table, 1, "<B"), _child(message, table, 2)
    body_bytes = _scalar(message, table, 3, "<q")
    if kind == _DICTIONARY_BATCH and header is not None:
        header = _child(message, header, 1)
    if kind in (_DICTIONARY_BATCH, _RECORD_BATCH) and header is not None and _child(message, header, 3) is not None:
        _check_buffers(source, body, body_bytes, message, _vector(message, header, 2, 16), fault)
    if body_bytes < 0:
        raise BadMessageError("a message has a body of a negative size")
    return kind, body + body_bytes


def _check_buffers(
    source: Any, body: int, body_bytes: int, message: bytes, buffers: range, fault: Callable[[int, int], str]
) -> None:
    if len(buffers) > _BUFFERS:
        raise BadMessageError(f"a message has {len(buffers)} buffers, at most {_BUFFERS} are read")
    given = 0
    for place in buffers:
        offset, length = struct.unpack_from("<qq", message, place)
        if length >= 8:
            given += max(0, _number(_at(source, body + offset, 8), 0, "<q"))  # -1: stored as it is
    if found := fault(given, body_bytes):
        raise BadMessageError(found)


def _at(source: Any, place: int, count: int, *, short: bool = False) -> bytes:
    if place < 0 or place + (0 if short else count) > source.size():
        raise BadMessageError("a message lies outside of the file")
    source.seek(place)
    return bytes(source.read(count))


def _number(data: bytes, place: int, kind: str) -> int:
    if place < 0:
        raise BadMessageError("a message points outside of itself")
    try:
        return int(struct.unpack_from(kind, data, place)[0])
    except struct.error as error:
        raise BadMessageError("a message points outside of itself") from error


def _root(data: bytes) -> int:
    return _number(data, 0, "<I")


def _field(data: bytes, table: int, index: int) -> int | None:
    """The place of a table's field, None where it has its default."""
    described = table - _number(data, table, "<i")
    if 4 + 2 * index >= _number(data, described, "<H"):
        return None
    offset = _number(data, described + 4 + 2 * index, "<H")
    return table + offset if offset else None


def _scalar(data: bytes, table: int, index: int, kind: str) -> int:
    place = _field(data, table, index)
    return 0 if place is None else _number(data, place, kind)


def _child(data: bytes, table: int, index: int) -> int | None:
    place = _field(data, table, index)
    return None if place is None else place + _number(data, place, "<I")


def _vector(data: bytes, table: int, index: int, width: int) -> range:
    """The places of a vector's elements."""
    start = _child(data, table, index)
    if start is None:
        return range(0)
    count = _number(data, start, "<I")
    if start + 4 + count * width > len(data):
        raise BadMessageError("a message points outside of itself")
    return range(start + 4, start + 4 + count * width, width)
