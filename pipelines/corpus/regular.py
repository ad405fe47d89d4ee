"""Opening what was a file a moment ago: a pipe or a device that took its place is never waited for."""

from __future__ import annotations

import os
import stat
from typing import IO, Any

from pipelines.corpus.evidence import shown
from pipelines.errors import CorpusChangedError


def open_regular(path: str, buffering: int = -1) -> IO[Any]:
    """The bytes of a file. Raises OSError, and CorpusChangedError where anything else has its name now."""
    # Without O_NONBLOCK, opening a pipe that nobody writes to never returns.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check(os.fstat(descriptor), path)
        return open(descriptor, "rb", buffering=buffering)
    except BaseException:
        os.close(descriptor)
        raise


def check_regular(path: str) -> None:
    """The same for libraries that open a path themselves."""
    _check(os.stat(path), path)


def _check(status: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise CorpusChangedError(
            f"{shown(path)} is no regular file any more.", "Put the file back, or start a new run."
        )
