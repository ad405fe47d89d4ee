"""A contestant's own process: its memory and thread pools are its own, and it computes only when it is asked.

The process is started anew, with the number of threads in its environment, and its output goes into a file.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
import time
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.engine.lineup import Entry

THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
PEERS = "benchmarks.engine.peers"


class AbsentError(Exception):
    """A contestant that cannot take part: what it said, in one line."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a method gave, the seconds that it took, and the CPU seconds of its process in them."""

    value: Any
    seconds: float
    cpu_s: float


class Seat:
    """A contestant's process, from its first message to :meth:`close`."""

    def __init__(self, entry: Entry, threads: int, logs: Path) -> None:
        self.entry, self._threads = entry, threads
        context = multiprocessing.get_context("spawn")
        self._pipe, there = context.Pipe()
        logs.mkdir(parents=True, exist_ok=True)
        log = logs / f"{entry.name.replace(' ', '-')}.log"
        self._process = context.Process(target=_sit, args=(there, entry, str(log)), daemon=True)
        with _threads_in_environment(threads):
            self._process.start()
        there.close()

    @property
    def streams(self) -> tuple[int, ...]:
        """How many batches it can compute side by side, other than one: as many as it has threads."""
        return (self._threads,) if self.entry.streams and self._threads > 1 else ()

    def prepare(self, model: Path, work: Path) -> Answer:
        """Load a checkpoint. Raises AbsentError where it cannot take part."""
        work.mkdir(parents=True, exist_ok=True)
        return self.call("prepare", model, work, self._threads)

    def call(self, method: str, *arguments: Any) -> Answer:
        """Have a method of the contestant run. Raises AbsentError where it fails, or its process ends."""
        try:
            self._pipe.send((method, arguments))
            kind, value = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join(5)
            raise AbsentError(f"its process ended with code {self._process.exitcode}") from None
        if kind == "error":
            raise AbsentError(value)
        return Answer(*value)

    def peak_bytes(self) -> int:
        """The most memory that the process had in hand so far."""
        status = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) * 1024

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _sit(pipe: Any, entry: Entry, log: str) -> None:
    """The life of the process: load the contestant's file, answer until nobody asks any more."""
    with open(log, "w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = [entry.name]
    contestant, failed = _load(entry)
    while True:
        try:
            method, arguments = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            if failed is not None:
                raise failed
            begun, cpu = time.perf_counter(), time.process_time()
            value = getattr(contestant, method)(*arguments)
            taken = time.perf_counter() - begun, time.process_time() - cpu
        except Exception as error:
            traceback.print_exc()
            sys.stderr.flush()
            line = " ".join(str(error).split())[:200]
            pipe.send(("error", f"{type(error).__name__}: {line}"))
        else:
            pipe.send(("answer", (value, *taken)))


def _load(entry: Entry) -> tuple[Any, Exception | None]:
    """The contestant, or what went wrong: it is told when the first method is called."""
    try:
        return importlib.import_module(f"{PEERS}.{entry.file}").Contestant(*entry.arguments), None
    except Exception as error:
        return None, error


@contextmanager
def _threads_in_environment(threads: int) -> Any:
    before = dict(os.environ)
    os.environ.update(dict.fromkeys(THREAD_SETTINGS, str(threads)), TOKENIZERS_PARALLELISM="true", HF_HUB_OFFLINE="1")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
