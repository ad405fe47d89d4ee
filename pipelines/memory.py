"""Memory that was freed, back to the system: glibc keeps it, and a process looks as large as it ever was."""

from __future__ import annotations

import ctypes

_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)


def give_back() -> None:
    """Hand back what nothing uses (https://man7.org/linux/man-pages/man3/malloc_trim.3.html); elsewhere than on glibc
    nothing is done.
    """
    if _TRIM is not None:
        _TRIM(ctypes.c_size_t(0))
