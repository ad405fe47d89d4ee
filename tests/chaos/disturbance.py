"""Commands that can be disturbed, and what must hold whatever is done to them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

T = TypeVar("T")
PATIENCE_S = 240
"""No hang survives it."""


class Command:
    """A penstock command in a process of its own, with its workers and its Redis."""

    def __init__(self, folder: Path, *arguments: object, **environment: str) -> None:
        self.log = folder / f"command-{time.monotonic_ns()}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "worker", *map(str, arguments)],
                cwd=folder,
                env=os.environ | environment,
                stdout=log,
                stderr=log,
            )

    def _find(self, wanted: str) -> psutil.Process:
        """A living descendant by a word of its command line."""
        return until(lambda: self._look(wanted), f"a {wanted} process of the command", self)

    def _look(self, wanted: str) -> psutil.Process | None:
        for process in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if process.status() != psutil.STATUS_ZOMBIE and wanted in " ".join(process.cmdline()):
                    return process
            except psutil.NoSuchProcess:
                continue
        return None

    def worker_child(self) -> psutil.Process:
        """The process that computes."""
        return self._find("spawn_main")

    def worker_parent(self) -> psutil.Process:
        """The Celery process that listens to the queue."""
        return self._find("worker.app")

    def redis(self) -> psutil.Process:
        """The Redis that the command brought along."""
        return self._find("redis-server")

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def wait(self) -> int:
        """Its exit code, within a patience that no hang survives."""
        try:
            return self.process.wait(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the command hangs; its log ends:\n{self.tail()}")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])


def until(look: Callable[[], T | None], what: str, command: Command | None = None) -> T:
    """Wait for something; its absence fails the test with what the command said last."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        if command is not None and command.process.poll() is not None:
            pytest.fail(f"the command ended before there was {what}; its log ends:\n{command.tail()}")
        time.sleep(0.02)
    pytest.fail(f"there never was {what}" + (f"; the log ends:\n{command.tail()}" if command else ""))


def until_parts(out: Path, count: int, command: Command | None = None) -> None:
    """Wait until a run has committed so many parts."""
    until(lambda: len(list((out / "data").glob("*.parquet"))) >= count, f"a part number {count}", command)


def rows(out: Path) -> pa.Table:
    """The rows of a dataset in the order of its parts."""
    return ds.dataset(sorted(str(path) for path in (out / "data").glob("*.parquet")), format="parquet").to_table()


def assert_same_rows(out: Path, expected: pa.Table) -> None:
    """The same documents in the same order with the same vectors, and a dataset that verifies."""
    found = rows(out)
    assert found.column("id").to_pylist() == expected.column("id").to_pylist()
    assert found.column("input_digest").to_pylist() == expected.column("input_digest").to_pylist()
    ours, theirs = (np.stack(table.column("embedding").to_numpy()) for table in (found, expected))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert (out / "_SUCCESS").exists()
    verified = subprocess.run(
        [sys.executable, "-m", "worker", "verify", str(out)], capture_output=True, text=True, check=False
    )
    assert verified.returncode == 0, verified.stderr
