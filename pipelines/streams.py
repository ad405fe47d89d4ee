"""Forward passes side by side on a CPU, each on a core of its own.

Cores that share one product wait for each other after each of its parts, and while one thread does what cannot be
shared. With a micro-batch each they do not. What a pass gives is there later, as it is on CUDA.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

import torch

from pipelines.features.fetch import Fetch, Fetched, Outcome

Result = TypeVar("Result")
MOST_WAITING = 2
"""Micro-batches for each stream: one that is computed, and one behind it."""
MOST_ON_CUDA = 16
"""Micro-batches; with more, the progress that renews a lease would be seen late."""


class Streams:
    """``count`` threads for forward passes. One alone is the caller's own, which on CUDA does not wait either."""

    def __init__(self, device: torch.device) -> None:
        self.count = torch.get_num_threads() if device.type == "cpu" else 1
        self.most_waiting = MOST_ON_CUDA if device.type == "cuda" else MOST_WAITING * self.count
        self._threads = ThreadPoolExecutor(self.count, "stream", _one_core) if self.count > 1 else None

    def call(self, make: Callable[[], Result]) -> Result:
        """What ``make`` returns or raises, as it is in a stream: oneDNN lays weights out for a number of threads."""
        return make() if self._threads is None else self._threads.submit(make).result()

    def launch(self, forward: Callable[[], Fetch]) -> Outcome:
        """Have a forward pass computed. It may raise what it fails with, or leave that to the outcome."""
        return forward() if self._threads is None else _Later(self._threads.submit(forward))


class _Later:
    """What a stream will have computed."""

    def __init__(self, future: Future[Fetch]) -> None:
        self._future = future

    @property
    def is_ready(self) -> bool:
        return self._future.done()

    def values(self) -> Fetched:
        return self._future.result().values()

    def drop(self) -> None:
        if not self._future.cancel():
            wait([self._future])


def _one_core() -> None:
    torch.set_num_threads(1)
