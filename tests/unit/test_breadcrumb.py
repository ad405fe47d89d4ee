"""The note that outlives its writer: whole or not there, and cleared when the work is done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.breadcrumb import SIZE, Trail, clear, mark_hung, new_path, read
from worker.lifeline import is_running


@pytest.fixture
def path() -> Iterator[Path]:
    place = new_path()
    yield place
    place.unlink()


def test_what_is_in_hand_can_be_read_and_is_cleared(path: Path) -> None:
    assert read(path) is None
    trail = Trail(path, 60)
    trail.drop("run", 7, "forward", [3, 1, 2])
    crumb = read(path)
    assert crumb is not None
    assert (crumb.pid, crumb.run, crumb.batch, crumb.stage) == (os.getpid(), "run", 7, "forward")
    assert (crumb.documents, crumb.limit_s, crumb.hung) == ((3, 1, 2), 60, False)
    mark_hung(path)
    assert read(path).hung  # type: ignore[union-attr]  # it is there
    trail.drop("run", 7, "forward", [4])
    assert not read(path).hung  # type: ignore[union-attr]  # it is there
    trail.drop("run", 7, "", ())
    assert read(path) is None
    trail.drop("run", 8, "forward", [1])
    clear(path)
    assert read(path) is None


def test_it_survives_a_killed_writer(path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from worker.breadcrumb import Trail;"
        "trail = Trail(Path(sys.argv[1]), 60); trail.drop('run', 1, 'forward', range(500));"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    child = subprocess.Popen([sys.executable, "-c", script, path])
    assert child.wait() == -signal.SIGKILL
    crumb = read(path)
    assert crumb is not None
    assert (crumb.pid, crumb.documents) == (child.pid, tuple(range(500)))
    assert not is_running(child.pid)


def test_the_page_of_a_killed_command_is_removed_and_no_other(path: Path) -> None:
    script = "import os, signal; from worker.breadcrumb import new_path; print(new_path(), flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        left = Path(command.stdout.readline().strip())
        new_path().unlink()
        assert left.exists()
        command.kill()
    assert left.exists()
    new_path().unlink()
    assert not left.exists()
    assert path.exists()


def test_a_zombie_is_not_running() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    while is_running(child.pid):  # not waited for: it stays a zombie
        time.sleep(0.01)
    assert Path(f"/proc/{child.pid}").exists()
    child.wait()


def test_more_documents_than_fit_leave_no_note(path: Path) -> None:
    trail = Trail(path, 60)
    trail.drop("run", 1, "forward", range(SIZE))
    assert read(path) is None


def test_what_was_finished_before_is_counted_by_stage(path: Path) -> None:
    """A process that tokenises, and dies at each forward pass, has finished nothing of what it dies at."""
    trail = Trail(path, 60)
    finished = []
    for number, stage in enumerate(("tokenise", "tokenise", "forward", "forward", "", "tokenise")):
        trail.drop("run", 1, stage, [number])
        crumb = read(path)
        finished.append(crumb and crumb.finished)
    assert finished == [0, 1, 0, 1, None, 2]


def test_what_is_handed_over_beside_others_finishes_nothing(path: Path) -> None:
    """Only when a document is no longer in hand a micro-batch was computed, whatever the main thread did meanwhile."""
    trail = Trail(path, 60)
    finished = []
    for stage, documents in (("forward", "1"), ("forward", "12"), ("wait", "12"), ("wait", "2"), ("forward", "23")):
        trail.drop("run", 1, stage, map(int, documents))
        crumb = read(path)
        assert crumb is not None
        finished.append(crumb.finished)
    assert finished == [0, 0, 0, 1, 1]


def test_slow_work_gets_more_time(path: Path) -> None:
    trail = Trail(path, 0.001)
    for _ in range(3):
        trail.drop("run", 1, "forward", [1])
        time.sleep(0.02)
    crumb = read(path)
    assert crumb is not None
    assert crumb.limit_s >= 20 * 0.02


def test_a_successor_knows_how_long_each_stage_took(path: Path) -> None:
    trail = Trail(path, 0.001)
    for stage in ("forward", "tokenise", "tokenise", ""):
        trail.drop("run", 1, stage, [1])
        time.sleep(0.05 if stage == "forward" else 0.0)
    clear(path)
    successor = Trail(path, 0.001)
    assert successor.longest_s() >= 20 * 0.05
    for stage in ("tokenise", "tokenise", "forward"):  # what is quick tells nothing of what is slow
        successor.drop("run", 1, stage, [1])
    assert read(path).limit_s >= 20 * 0.05  # type: ignore[union-attr]  # it is there


def test_the_first_piece_ever_counts_when_it_is_done(path: Path) -> None:
    trail = Trail(path, 60)
    assert trail.longest_s() == 0
    trail.drop("run", 1, "forward", [1])
    time.sleep(0.02)
    assert trail.longest_s() >= 20 * 0.02


def test_a_hang_before_anything_was_finished_doubles_the_time(path: Path) -> None:
    limits = []
    for _ in range(3):
        Trail(path, 60).drop("run", 1, "forward", [1])
        limits.append(read(path).limit_s)  # type: ignore[union-attr]  # it is there
        mark_hung(path)
        clear(path)
    assert limits == [60, 120, 240]
    trail = Trail(path, 60)
    assert trail.longest_s() == 480
    for _ in range(2):
        trail.drop("run", 1, "forward", [1])
    mark_hung(path)
    trail = Trail(path, 60)
    trail.drop("run", 1, "forward", [1])
    assert read(path).limit_s == 60  # type: ignore[union-attr]  # it is there


def test_a_pace_that_cannot_be_read_is_none(path: Path) -> None:
    trail = Trail(path, 60)
    trail.drop("run", 1, "forward", [1])
    trail.drop("run", 1, "", ())
    with path.open("r+b") as page:
        page.seek(SIZE - 256)
        page.write(b'{"forward": 1')
        page.write(bytes(200))
    assert Trail(path, 60).longest_s() == 0
