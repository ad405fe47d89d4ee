"""Children that end with their parent, in whatever way it ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> Callable[[], None] | None:
    """What a child runs before it becomes another program, so that the kernel kills it when its parent ends.

    For ``subprocess.Popen(preexec_fn=…)``. The kernel looks at the *thread* that started the child: start children from
    the main thread only. None where the system has no such thing.
    """
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # looked up here: after the fork only plain calls are safe
    parent = os.getpid()

    def arrange() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it ended before the line above
            os._exit(1)

    return arrange


def is_running(pid: int) -> bool:
    """Whether a process is there and is no zombie that its parent has not buried yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return not sys.platform.startswith("linux")
    return state not in "ZX"
