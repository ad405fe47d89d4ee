"""Addressed lines: every line of a file with its byte offset in the decompressed file and its number.

Lines come in blocks, because a generator step for each line costs as much as parsing it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from pipelines.corpus.blocks import DamagedStreamError, blocks
from pipelines.corpus.evidence import DamagedFile

MAX_LINE_BYTES = 16 * 2**20
"""Longer lines are rejected without being held in memory."""

_HEAD_BYTES = 1024
_BOM = b"\xef\xbb\xbf"


class Lines(NamedTuple):
    """Consecutive lines without their ``\\n``; ``end`` is its width: 1, or 0 for a last line that has none.

    ``offset`` is where the first begins, ``number`` (1-based) is its number.
    """

    offset: int
    number: int
    lines: list[bytes]
    end: int


class LongLine(NamedTuple):
    """A line over MAX_LINE_BYTES: its address, the offset after it, its size, digest and first bytes.

    ``last_number`` is the number of its last line: another one only where lines were joined to a record.
    """

    offset: int
    number: int
    next_offset: int
    size: int
    sha256: str
    head: bytes
    last_number: int


def read_lines(
    path: str, compression: str, offset: int = 0, line: int = 0, *, bom: bool = True
) -> Iterator[Lines | LongLine]:
    """The lines of a file from ``offset`` on, before which there are ``line`` lines. A line ends at ``\\n`` only.

    A UTF-8 byte order mark at the very start is left out (``bom``); the first line then begins at offset 3.
    Raises DamagedFile at the first line that cannot be read whole, after all lines before it.
    """
    number = line + 1
    tail = b""
    long: _LongLine | None = None
    at_start = bom and offset == 0
    try:
        for block in blocks(path, compression, offset):
            if at_start and block.startswith(_BOM):
                block = block[len(_BOM) :]
                offset = len(_BOM)
            at_start = False
            if long is not None:
                rest = long.take(block)
                if rest is None:
                    continue
                yield long.finished(1)
                offset, number, long, block = offset + long.size + 1, number + 1, None, rest
            data = tail + block if tail else block
            lines = data.split(b"\n")
            tail = lines.pop()
            if lines and len(lines[0]) > MAX_LINE_BYTES:
                first = _LongLine(offset, number, lines.pop(0))
                yield first.finished(1)
                offset, number = offset + first.size + 1, number + 1
            if lines:
                yield Lines(offset, number, lines, 1)
                offset += sum(map(len, lines)) + len(lines)
                number += len(lines)
            if len(tail) > MAX_LINE_BYTES:
                long, tail = _LongLine(offset, number, tail), b""
    except DamagedStreamError as error:
        raise DamagedFile(offset, number, str(error), long.head if long else tail) from error
    if long is not None:
        yield long.finished(0)
    elif tail:
        yield Lines(offset, number, [tail], 0)


class _LongLine:
    """A line that is digested while it goes by."""

    def __init__(self, offset: int, number: int, data: bytes) -> None:
        self.offset = offset
        self.number = number
        self.size = len(data)
        self.head = data[:_HEAD_BYTES]
        self._digest = hashlib.sha256(data)

    def take(self, block: bytes) -> bytes | None:
        """Take what belongs to the line; the rest of the block after its end, or None if it goes on."""
        end = block.find(b"\n")
        mine = block if end < 0 else block[:end]
        self.size += len(mine)
        self._digest.update(mine)
        return None if end < 0 else block[end + 1 :]

    def finished(self, end: int) -> LongLine:
        after = self.offset + self.size + end
        digest = self._digest.hexdigest()
        return LongLine(self.offset, self.number, after, self.size, digest, self.head, self.number)
