"""A file, or a decompressed stream, from which nobody can read more than is there and is allowed."""

from __future__ import annotations

from typing import IO

MAX_READ_BYTES = 64 * 2**20
"""At once. What is read in one go is short; longer is asked for only by a length that is not true."""


class Bounded:
    """Reads of ``file`` from where it stands up to the byte ``end`` of it.

    Raises ValueError where more than MAX_READ_BYTES are asked for at once; past the end there is nothing, as in a file.
    """

    def __init__(self, file: IO[bytes], end: int) -> None:
        self._file = file
        self._end = end

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._end - self._file.tell())
        if size < 0 or size > left:
            size = left
        if size > MAX_READ_BYTES:
            raise ValueError(f"a length of {size} bytes, wanted at most {MAX_READ_BYTES}")
        return self._file.read(size)

    def readline(self, size: int = -1) -> bytes:
        left = max(0, self._end - self._file.tell())
        return self._file.readline(min(left, MAX_READ_BYTES, size if size >= 0 else left))

    def seek(self, offset: int) -> int:
        return self._file.seek(offset)

    def tell(self) -> int:
        return self._file.tell()
