"""The bytes of a file, plain or compressed, as a stream of blocks; a file is never decompressed whole.

Files of several gzip members, zstd frames, bz2 or xz streams are one stream; zero padding between them is allowed.
A file that gives out of all proportion more than it holds is a bomb, and read no further.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import zstandard

from pipelines.corpus.bombs import bytes_fault
from pipelines.corpus.regular import open_regular

BLOCK_BYTES = 2**20

_SLICE_BYTES = 64 * 1024
# zstd gives no way to bound what one call returns; a run-length block makes 128 KiB of 4 bytes, so 2 KiB make 64 MiB.
_ZSTD_SLICE_BYTES = 2 * 1024
_WINDOW_BYTES = 2**27  # what the zstd command accepts without being told to use more
_XZ_MEMORY_BYTES = 2**28
_SAMPLE_BYTES = 2**20
_MOST_SAMPLED_BYTES = 2**26
_ERRORS = (zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError, EOFError, ValueError, MemoryError)


class DamagedStreamError(Exception):
    """The compressed data cannot be read on; the message says why."""


class _BombError(DamagedStreamError):
    """The data could be read on, and should not be."""


def blocks(path: str, compression: str, offset: int = 0) -> Iterator[bytes]:
    """The decompressed bytes of a file from ``offset`` on, in blocks that are never empty.

    Plain files are entered at the offset, compressed ones are read from the start and what lies before is dropped.
    Raises DamagedStreamError after everything that could be read, OSError where the file itself cannot be.
    """
    if compression == "none":
        with open_regular(path, buffering=0) as file:
            file.seek(offset)
            while block := file.read(BLOCK_BYTES):
                yield block
        return
    for block in _gathered(_decompressed(path, compression)):
        if offset >= len(block):
            offset -= len(block)
        else:
            yield block[offset:] if offset else block
            offset = 0


def expansion(path: str, compression: str) -> float:
    """About how many bytes a byte of a file gives, by the first of them; 1 for plain files, and where nobody knows."""
    if compression == "none":
        return 1.0
    members, given, taken = _Members(compression), 0, 0
    try:
        for data in _slices(path, _ZSTD_SLICE_BYTES if compression == "zstd" else _SLICE_BYTES):
            taken += len(data)
            given += sum(len(piece) for piece in members.feed(data))
            if taken >= _SAMPLE_BYTES or given >= _MOST_SAMPLED_BYTES:
                break
    except (DamagedStreamError, OSError):
        pass  # whoever reads the file says so
    return given / taken if given else 1.0


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Small pieces joined to blocks, and large ones cut; what was there before the damage comes before the error."""
    waiting: list[bytes] = []
    size = 0
    try:
        for piece in pieces:
            waiting.append(piece)
            size += len(piece)
            if size >= BLOCK_BYTES:
                yield from _cut(b"".join(waiting))
                waiting, size = [], 0
    except DamagedStreamError:
        yield from _cut(b"".join(waiting))
        raise
    yield from _cut(b"".join(waiting))


def _cut(data: bytes) -> Iterator[bytes]:
    """Where a line is too long must not depend on how much of a file comes at once."""
    for place in range(0, len(data), BLOCK_BYTES):
        yield data[place : place + BLOCK_BYTES]


def _decompressed(path: str, compression: str) -> Iterator[bytes]:
    """Everything that can be decompressed, to the last byte before the damage.

    A codec drops what it made of the slice in which it fails. So a damaged file is read a second time, that slice
    byte by byte, and what was given out already is left out.
    """
    given = taken = 0
    members = _Members(compression)
    size = _ZSTD_SLICE_BYTES if compression == "zstd" else _SLICE_BYTES
    try:
        for data in _slices(path, size):
            for piece in members.feed(data):
                given += len(piece)
                if fault := bytes_fault(given, taken + len(data)):
                    raise _BombError(fault)
                yield piece
            taken += len(data)
    except _BombError:
        raise
    except DamagedStreamError:
        members = _Members(compression)
        for data in _slices(path, size, single_from=taken):
            for piece in members.feed(data):
                if given < len(piece):
                    yield piece[given:]
                given = max(0, given - len(piece))
    members.finish()


class _Members:
    """The members (gzip), frames (zstd) or streams (bz2, xz) of one file, one after the other."""

    def __init__(self, compression: str) -> None:
        self._new, self._pieces = _CODECS[compression]
        self._decoder: Any = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What the next bytes of the file decompress to. Raises DamagedStreamError."""
        while data:
            if self._decoder is None:
                data = data.lstrip(b"\0")
                if not data:
                    return
                self._decoder = self._new()
            try:
                yield from self._pieces(self._decoder, data)
            except _ERRORS as error:
                raise DamagedStreamError(str(error) or type(error).__name__) from error
            data = b""
            if self._decoder.eof:
                data = self._decoder.unused_data
                self._decoder = None

    def finish(self) -> None:
        """Raises DamagedStreamError where the file ends inside a member."""
        if self._decoder is not None:
            raise DamagedStreamError("the compressed data end before their end mark")


def _zlib_pieces(decoder: Any, data: bytes) -> Iterator[bytes]:
    while True:
        piece = decoder.decompress(data, BLOCK_BYTES)
        data = decoder.unconsumed_tail
        yield piece
        if decoder.eof or (not data and len(piece) < BLOCK_BYTES):
            return


def _bounded_pieces(decoder: Any, data: bytes) -> Iterator[bytes]:
    while True:
        yield decoder.decompress(data, BLOCK_BYTES)
        if decoder.eof or decoder.needs_input:
            return
        data = b""


def _zstd_pieces(decoder: Any, data: bytes) -> Iterator[bytes]:
    yield decoder.decompress(data)


_CODECS: dict[str, tuple[Callable[[], Any], Callable[[Any, bytes], Iterator[bytes]]]] = {
    "gzip": (lambda: zlib.decompressobj(wbits=31), _zlib_pieces),
    "bz2": (bz2.BZ2Decompressor, _bounded_pieces),
    "xz": (lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES), _bounded_pieces),
    "zstd": (lambda: zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES).decompressobj(), _zstd_pieces),
}


def _slices(path: str, size: int, single_from: int | None = None) -> Iterator[bytes]:
    position = 0
    with open_regular(path) as file:
        while data := file.read(size if single_from is None or position < single_from else 1):
            yield data
            position += len(data)
