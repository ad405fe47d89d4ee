"""What identifies the source of a range of items without reading the items: the bytes of lines, the file of rows.

A scan feeds the same to its digest on the way, so what a range was when it was planned can be compared with what it is
when it is read.
"""

from __future__ import annotations

import hashlib
import os
from typing import IO, Any

from pipelines.corpus.blocks import blocks
from pipelines.corpus.regular import open_regular
from pipelines.documents import Cursor
from pipelines.spec import CorpusSpec, Format, Shard

_MAX_FOOTER_BYTES = 64 * 2**20


def source_digest(spec: CorpusSpec, start: Cursor, end: Cursor) -> str:
    """The hex SHA-256 of the source of what lies between two cursors; nothing where it cannot be read to its end.

    Raises OSError.
    """
    digest = new_digest()
    for number in range(start.shard, end.shard + 1):
        if number == len(spec.shards):
            break
        begin = start.offset if number == start.shard else 0
        stop = end.offset if number == end.shard else None
        if begin == stop:
            continue
        shard = spec.shards[number]
        if shard.format is Format.PARQUET:
            digest.update(file_identity(shard.uri))
        elif not _digest_bytes(shard, begin, stop, digest):
            return ""
    return str(digest.hexdigest())


def new_digest() -> Any:
    """A digest to feed."""
    return hashlib.sha256()  # processors compute it in hardware: twice as fast as BLAKE2


def file_identity(path: str) -> bytes:
    """Size, modification time and the last bytes of a Parquet file: its footer, which says where everything lies."""
    with open_regular(path) as file:
        status = os.fstat(file.fileno())
        footer = _footer(file, status.st_size)
    return b"%d %d %s" % (status.st_size, status.st_mtime_ns, hashlib.sha256(footer).digest())


def _footer(file: IO[bytes], size: int) -> bytes:
    file.seek(max(0, size - 8))
    length = int.from_bytes(file.read(4), "little") + 8
    file.seek(max(0, size - min(length, _MAX_FOOTER_BYTES)))
    return file.read()


def _digest_bytes(shard: Shard, begin: int, stop: int | None, digest: Any) -> bool:
    """Feed the bytes of a plain file from ``begin`` to ``stop`` (or the end); False where there are fewer."""
    place = begin
    for block in blocks(shard.uri, shard.compression, begin):
        piece = block if stop is None else block[: stop - place]
        digest.update(piece)
        place += len(piece)
        if place == stop:
            return True
    return stop is None
