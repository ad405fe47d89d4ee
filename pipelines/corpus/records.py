"""Records of CSV and TSV files as bytes with an address: lines, joined where a quoted field holds a line end.

CSV quotes as Python's csv and RFC 4180 do. TSV has no quoting by its registration (IANA text/tab-separated-values), but
many programs write it quoted: a quoted field counts as such only if it is well formed, else a quote is a character.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from pipelines.corpus.evidence import DamagedFile
from pipelines.corpus.lines import MAX_LINE_BYTES, Lines, LongLine

_QUOTE = b'"'
_HEAD_BYTES = 1024


class Record(NamedTuple):
    """One record without its line end, its address and that of the next; ``literal``: quotes are characters."""

    offset: int
    number: int
    raw: bytes
    next_offset: int
    last_number: int
    literal: bool
    closed: bool = True


class _Line(NamedTuple):
    offset: int
    number: int
    raw: bytes
    next_offset: int


class _Quoting(Enum):
    WELL_FORMED = 1
    OPEN = 2
    STRAY = 3


def read_records(
    blocks: Iterator[Lines | LongLine], delimiter: bytes, *, lenient: bool, fields: int | None
) -> Iterator[Record | LongLine]:
    """The records that the lines form. Lines without a byte are none.

    ``lenient``: a quote that does not enclose a whole field is a character, as TSV needs it. ``fields`` is the number
    of fields of the header, by which an unclosed quote is told from a quoted line end.
    """
    lines = _Queue(blocks)
    while (line := lines.next()) is not None:
        if isinstance(line, LongLine):
            yield line
            continue
        raw = line.raw
        quoting = _WELL if _QUOTE not in raw else _quoting(raw, delimiter, False)
        if not raw or raw == b"\r":
            continue
        if quoting is _Quoting.STRAY and lenient:
            yield _single(line, literal=True)
        elif quoting is not _Quoting.OPEN:
            yield _single(line, literal=_QUOTE not in raw)
        elif lenient and fields is not None and _open_fields(raw, delimiter) == fields:
            yield _last_field(line, lines, delimiter, fields)
        else:
            yield _joined(line, lines, delimiter)
    if lines.damage is not None:
        raise lines.damage


_WELL = _Quoting.WELL_FORMED


def _single(line: _Line, *, literal: bool) -> Record:
    return Record(line.offset, line.number, _without_return(line.raw), line.next_offset, line.number, literal)


def _joined(first: _Line, lines: _Queue, delimiter: bytes) -> Record | LongLine:
    """The record that begins on a line whose last field is open: all lines up to the one that closes it."""
    parts = [first.raw]
    size = len(first.raw)
    place = first
    while True:
        line = lines.next()
        if line is None:
            raw = b"\n".join(parts)
            if lines.damage is not None:
                raise DamagedFile(first.offset, first.number, lines.damage.detail, raw)
            return Record(first.offset, first.number, raw, place.next_offset, place.number, False, closed=False)
        if isinstance(line, LongLine):
            return _too_long(first, parts, line.next_offset, line.number)
        parts.append(line.raw)
        size += len(line.raw) + 1
        place = line
        if size > MAX_LINE_BYTES:
            return _too_long(first, parts, line.next_offset, line.number)
        if _quoting(line.raw, delimiter, True) is not _Quoting.OPEN:
            raw = _without_return(b"\n".join(parts))
            return Record(first.offset, first.number, raw, line.next_offset, line.number, False)


def _last_field(first: _Line, lines: _Queue, delimiter: bytes, fields: int) -> Record:
    """A line that has all its fields and opens a quote in the last: does that quote enclose a line end, or nothing?

    It does if it closes at the end of a line before any line has a delimiter, that is, fields of its own; or if it
    closes on a line that is no record by itself and makes one, with all its fields, together with the lines before it.
    """
    ahead: list[_Line | LongLine] = []
    size = len(first.raw)
    while (line := lines.next()) is not None:
        ahead.append(line)
        size += len(line.raw) if isinstance(line, _Line) else MAX_LINE_BYTES
        if isinstance(line, LongLine) or size > MAX_LINE_BYTES:
            break
        quoting = _quoting(line.raw, delimiter, True)
        a_record = line.raw.count(delimiter) + 1 == fields
        if delimiter in line.raw and (a_record or quoting is not _Quoting.WELL_FORMED):
            break
        if quoting is _Quoting.WELL_FORMED:
            raw = _without_return(b"\n".join([first.raw, *(part.raw for part in ahead if isinstance(part, _Line))]))
            if delimiter in line.raw and _open_fields(raw, delimiter) != fields:
                break
            return Record(first.offset, first.number, raw, line.next_offset, line.number, False)
        if quoting is _Quoting.STRAY:
            break
    lines.put_back(ahead)
    return _single(first, literal=True)


def _open_fields(raw: bytes, delimiter: bytes) -> int:
    """The fields of a line, of which closed quoted ones may hold delimiters; what an open quote hides counts."""
    count, place = 1, 0
    while True:
        if raw[place : place + 1] == _QUOTE:
            close = raw.find(_QUOTE, place + 1)
            while close >= 0 and raw[close + 1 : close + 2] == _QUOTE:
                close = raw.find(_QUOTE, close + 2)
            if close >= 0:
                place = close + 1
        after = raw.find(delimiter, place)
        if after < 0:
            return count
        count, place = count + 1, after + len(delimiter)


def _quoting(line: bytes, delimiter: bytes, inside: bool) -> _Quoting:
    """How the quotes of a line stand at its end. ``inside``: the line begins within a quoted field."""
    line = _without_return(line)
    opening = delimiter + _QUOTE
    stray = False
    place = 0
    if not inside:
        if line.startswith(_QUOTE):
            place = 1
        else:
            place = line.find(opening) + 2
            if place == 1:
                return _WELL  # quotes inside unquoted fields are characters
    while True:
        close = line.find(_QUOTE, place)
        if close < 0:
            return _Quoting.OPEN
        if line[close + 1 : close + 2] == _QUOTE:
            place = close + 2
            continue
        after = line[close + 1 : close + 2]
        stray = stray or after not in (b"", delimiter)
        place = line.find(opening, close + 1) + 2
        if place == 1:
            return _Quoting.STRAY if stray else _WELL


def _without_return(raw: bytes) -> bytes:
    return raw[:-1] if raw.endswith(b"\r") else raw


def _too_long(first: _Line, parts: list[bytes], next_offset: int, number: int) -> LongLine:
    raw = b"\n".join(parts)
    digest = hashlib.sha256(raw).hexdigest()
    size = next_offset - first.offset
    return LongLine(first.offset, first.number, next_offset, size, digest, raw[:_HEAD_BYTES], number)


class _Queue:
    """Lines one by one, of which some can be put back. Damage is an end, and remembered."""

    def __init__(self, blocks: Iterator[Lines | LongLine]) -> None:
        self._lines = _flat(blocks)
        self._waiting: deque[_Line | LongLine] = deque()
        self.damage: DamagedFile | None = None

    def next(self) -> _Line | LongLine | None:
        """The next line, or None at the end."""
        if self._waiting:
            return self._waiting.popleft()
        try:
            return next(self._lines, None)
        except DamagedFile as damage:
            self.damage = damage
            return None

    def put_back(self, lines: list[_Line | LongLine]) -> None:
        self._waiting.extendleft(reversed(lines))


def _flat(blocks: Iterator[Lines | LongLine]) -> Iterator[_Line | LongLine]:
    for block in blocks:
        if isinstance(block, LongLine):
            yield block
            continue
        after, number, lines, end = block
        for raw in lines:
            start = after
            after = start + len(raw) + end
            yield _Line(start, number, raw, after)
            number += 1
