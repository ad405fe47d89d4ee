"""Write-behind: what is left of a batch when the device is done with it goes on in a thread, one batch at most."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait


class WriteBehind:
    """The thread of one process. One thread uses it."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="write-behind")
        self._last: Future[None] | None = None

    def hand_over(self, finish: Callable[[], None]) -> None:
        """Run this behind the caller's back, in the caller's context, once the one before is done.

        Raises what the one before raised.
        """
        self.settle()
        self._last = self._thread.submit(contextvars.copy_context().run, finish)

    def settle(self, timeout_s: float | None = None) -> None:
        """Wait until nothing is left to do, at most so long. Raises what the last one raised."""
        if self._last is not None and wait([self._last], timeout_s).done:
            last, self._last = self._last, None
            last.result()
