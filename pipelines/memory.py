"""Memory that was freed, back to the system: glibc keeps it, and a process looks as large as it ever was."""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Hand back what nothing uses (https://man7.org/linux/man-pages/man3/malloc_trim.3.html); elsewhere than on glibc
    nothing is done.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
