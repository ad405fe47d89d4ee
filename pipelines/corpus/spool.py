"""A stream becomes a file, because only a file can be read again after a crash."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

_BLOCK_BYTES = 2**20


def spool(stream: BinaryIO, folder: Path) -> Path:
    """Write a stream to ``folder`` and return the file, named ``stdin-`` and a digest of its content.

    The same content is the same file, left as it is if it is there already: a run that is started again finds its
    corpus unchanged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"stdin-{os.getpid()}.partial"
    digest = hashlib.sha256()
    try:
        with partial.open("wb") as file:
            while block := stream.read(_BLOCK_BYTES):
                digest.update(block)
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        target = folder / f"stdin-{digest.hexdigest()[:32]}"
        if not target.exists():
            partial.rename(target)
    finally:
        partial.unlink(missing_ok=True)
    return target
