"""One live command for a folder: its lock, on file systems of every kind."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from integration.open_runs import Run

from pipelines.errors import SurroundingsError
from tasks.runs import is_locked, live_command, locked


def test_one_live_command_per_folder(run: Run) -> None:
    assert not is_locked(run.store)
    with locked(run.store, command="run", broker_url="redis://:secret@h/0"):
        assert is_locked(run.store)
        live = live_command(run.store)
        assert live is not None
        assert (live["command"], live["pid"], live["broker_url"]) == ("run", os.getpid(), "redis://:secret@h/0")
        assert stat.S_IMODE((run.store.root / "_live.json").stat().st_mode) == 0o600
        with (
            pytest.raises(SurroundingsError, match=rf"held by `penstock run` \(process {os.getpid()} on ") as caught,
            locked(run.store, command="resume", broker_url=None),
        ):
            pass
        assert "secret" not in str(caught.value)
        assert live_command(run.store) == live
    assert not is_locked(run.store)
    assert live_command(run.store) is None
    with locked(run.store, command="resume", broker_url=None):
        pass


HOLD = """
import sys
from pathlib import Path
from pipelines.parts.store import Store
from tasks.runs import locked
with locked(Store(Path(sys.argv[1])), command="run", broker_url=None):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(run: Run) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the run's folder."""
    command = [sys.executable, "-c", HOLD, str(run.store.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_lock_dies_with_its_process(run: Run, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(SurroundingsError, match=f"process {holder.pid}"), locked(run.store, command="x", broker_url=""):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    left = live_command(run.store)
    assert left is not None
    assert left["pid"] == holder.pid
    assert not is_locked(run.store)
    with locked(run.store, command="resume", broker_url=None):
        live = live_command(run.store)
        assert live is not None
        assert live["pid"] == os.getpid()


def test_a_damaged_live_file_is_no_reason_to_fail(run: Run) -> None:
    (run.store.root / "_live.json").write_text("{")
    assert live_command(run.store) is None


def test_looking_at_a_lock_does_not_hold_it(run: Run) -> None:
    with locked(run.store, command="run", broker_url=None):
        pass
    with (run.store.root / "_lock").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_SH)  # somebody else looks at this moment
        assert not is_locked(run.store)


def _as_on_nfs(file: BinaryIO, how: int, real: Callable[[BinaryIO, int], None] = fcntl.flock) -> None:
    """For one alone NFS locks only what is open for writing (flock(2))."""
    if how & fcntl.LOCK_EX and fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    real(file, how)


def test_a_folder_on_nfs_can_be_locked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", _as_on_nfs)
    with locked(run.store, command="run", broker_url=None):
        assert is_locked(run.store)
    assert not is_locked(run.store)


def test_the_lock_hinders_nobody_who_reads_the_run(run: Run) -> None:
    """SMB lets nobody read what another has locked for itself: of what is read, nothing is locked."""
    with locked(run.store, command="run", broker_url=None):
        for path in filter(Path.is_file, run.store.root.iterdir()):
            with path.open("rb") as file:
                if path.name != "_lock":
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert (run.store.root / "_lock").stat().st_size == 0


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF])
def test_a_file_system_without_locks_is_said_in_a_line(run: Run, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def without(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", without)
    with (
        pytest.raises(SurroundingsError, match=f"{run.store.root} cannot be locked: {os.strerror(number)}"),
        locked(run.store, command="run", broker_url=None),
    ):
        pass
    with pytest.raises(SurroundingsError, match="cannot be locked"):
        is_locked(run.store)
