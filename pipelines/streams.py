"""Forward passes side by side on a CPU, each in a thread of its own, or in several where there are many cores.

Cores that share one product wait for each other after each of its parts, and while one thread does what cannot be
shared. With a micro-batch each they do not. What a pass gives is there later, as it is on CUDA.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Barrier
from typing import TypeVar

import torch

from pipelines.errors import SurroundingsError
from pipelines.features.fetch import Fetch, Fetched, Outcome

Result = TypeVar("Result")
MOST_STREAMS = 8
"""With more, Python's one lock would be what they wait for; they get several cores each then (not measured)."""
SHARED = 0.1
"""What a stream loses of its speed with each doubling of its cores, as they wait for each other. Two cores that share
each product were measured at 0.86 to 1.0 of the speed of two streams; for more it is a guess."""
MOST_WAITING = 2
"""Micro-batches for each stream: one that is computed, and one behind it; the next is handed over beside them."""
MOST_ON_CUDA = 16
"""Micro-batches; with more, the progress that renews a lease would be seen late."""


class Streams:
    """``count`` threads for forward passes. One alone is the caller's own, which on CUDA does not wait either.

    Raises SurroundingsError where the process may not have so many threads.
    """

    def __init__(self, device: torch.device) -> None:
        self.count, cores = shared_out(torch.get_num_threads()) if device.type == "cpu" else (1, 1)
        self.most_waiting = MOST_ON_CUDA if device.type == "cuda" else MOST_WAITING * self.count
        self._threads = _started(self.count, cores) if self.count > 1 else None

    def call(self, make: Callable[[], Result]) -> Result:
        """What ``make`` returns or raises, as it is in a stream: oneDNN lays weights out for a number of threads."""
        return make() if self._threads is None else self._threads.submit(make).result()

    def launch(self, forward: Callable[[], Fetch]) -> Outcome:
        """Have a forward pass computed. It may raise what it fails with, or leave that to the outcome."""
        return forward() if self._threads is None else _Later(self._threads.submit(_outcome, forward))


def shared_out(cores: int) -> tuple[int, int]:
    """How many streams there are, and the cores of each: as many of each as are fastest together.

    All have as many, for weights are laid out for a number of threads; so of eleven cores one has nothing to do, which
    is better than one stream of eleven.
    """

    def speed(count: int) -> float:
        of_each = cores // count
        return count * of_each / (1 + SHARED * math.log2(of_each))

    count = max(range(1, min(cores, MOST_STREAMS) + 1), key=lambda count: (speed(count), count))
    return count, cores // count


def _started(count: int, cores: int) -> ThreadPoolExecutor:
    """All threads at once: one that cannot be had later would look like the fault of a document."""
    threads, all_there, before = ThreadPoolExecutor(count, "stream"), Barrier(count), torch.get_num_threads()

    def begin() -> None:
        torch.set_num_threads(cores)
        torch.get_num_threads()  # only now has this thread a number of its own
        all_there.wait()

    try:
        for begun in [threads.submit(begin) for _ in range(count)]:
            begun.result()
    except RuntimeError as error:
        all_there.abort()
        raise SurroundingsError(
            f"This process may not start {count} threads: {error}.",
            "Allow it more (ulimit -u, or the control group's pids.max), or set OMP_NUM_THREADS lower.",
        ) from error
    torch.set_num_threads(before)  # of threads to come: what the streams set is the whole process's default
    return threads


def _outcome(forward: Callable[[], Fetch]) -> Fetch | Exception:
    try:
        return forward()
    except Exception as error:
        error.__traceback__ = None  # its frames hold tensors, while others want the memory
        return error


class _Later:
    """What a stream will have computed."""

    def __init__(self, future: Future[Fetch | Exception]) -> None:
        self._future = future

    @property
    def is_ready(self) -> bool:
        return self._future.done()

    def values(self) -> Fetched:
        found = self._future.result()
        if isinstance(found, Exception):
            raise found
        return found.values()

    def drop(self) -> None:
        if not self._future.cancel():
            wait([self._future])
