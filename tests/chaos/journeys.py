"""Runs that are struck at a failpoint, many at a time, on one Redis and one worker command."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from worker.lifeline import die_with_parent

PATIENCE_S = 240
BATCHES, BATCH_DOCUMENTS = 10, 12
MOST_RESUMES = 3
MOST_TRAVELS = 3


class Launched:
    """A command of the launcher."""

    def __init__(self, socket_path: Path, folder: Path, log: Path, words: tuple[str, ...]) -> None:
        self.log = log
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(str(socket_path))
        self._connection.settimeout(PATIENCE_S)
        request = {"folder": str(folder), "log": str(log), "words": words}
        self._connection.sendall(json.dumps(request).encode() + b"\n")
        self._answers = self._connection.makefile()
        self.pid = int(self._answers.readline())

    def wait(self) -> int:
        """Its exit status; TimeoutError for what hangs."""
        try:
            return int(self._answers.readline())
        finally:
            self.close()

    def close(self) -> None:
        """Stop listening to it."""
        self._answers.close()
        self._connection.close()


class Launcher:
    """A process that forks commands; with it end all that it has started."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self._socket = folder / "socket"
        with (folder / "launcher.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "chaos.launcher", str(self._socket)],
                env=environment,
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=log,
                preexec_fn=die_with_parent(),
            )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n", (folder / "launcher.log").read_text()

    def start(self, folder: Path, *words: object) -> Launched:
        """``start(folder, "submit", …)``: a penstock command in a folder."""
        log = folder / f"{words[0]}-{time.monotonic_ns()}.log"
        return Launched(self._socket, folder, log, tuple(map(str, words)))

    def stop(self) -> None:
        processes = [*psutil.Process(self._process.pid).children(recursive=True), psutil.Process(self._process.pid)]
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, timeout=10)
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


@dataclass
class Journey:
    """One run. ``statuses`` are the exit statuses of its commands, in the order of their starts."""

    folder: Path
    statuses: list[int] = field(default_factory=list)
    verified: int = -1

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def noted(self, what: str) -> str:
        """What a process noted: its side, its id and the batch; empty where it never did."""
        path = self.folder / what
        return path.read_text() if path.exists() else ""

    @property
    def struck_lives(self) -> bool:
        """Whether the process that was struck is still there, or none was."""
        note = self.noted("fired").split()
        return len(note) < 2 or psutil.pid_exists(int(note[1]))

    def tail(self) -> str:
        """The ends of its logs."""
        logs = sorted(self.folder.glob("*.log"), key=lambda path: path.stat().st_mtime)
        return "\n".join(f"{log.name}\n{log.read_text(errors='replace')[-2000:]}" for log in logs)


class Roads:
    """What all journeys share."""

    def __init__(self, launcher: Launcher, corpus: Path, model: Path, broker_url: str) -> None:
        self.launcher = launcher
        self.corpus = corpus
        self.model = model
        self.broker_url = broker_url

    def travel(self, name: str, armed: str = "", *, zombie: str = "") -> Journey:
        """Open a run, have it struck, and resume it until it is at its end.

        ``zombie`` is the side of a process that sleeps: the journey is over when it has woken up and come to its end.
        A child works on batches of two runs at a time, so another journey's strike may end it in its sleep; that proves
        nothing, and the journey is made again.
        """
        for number in range(MOST_TRAVELS):
            journey = self._travel(f"{name}-{number}" if number else name, armed, zombie)
            if zombie != "child" or journey.noted("ended"):
                break
        return journey

    def _travel(self, name: str, armed: str, zombie: str) -> Journey:
        journey = Journey(self.launcher.folder / name)
        journey.folder.mkdir()
        if armed:
            (journey.folder / "armed").write_text(armed)
        feeder = self.launcher.start(
            journey.folder,
            *("submit", self.corpus, "--out", journey.out, "--model", self.model, "--dtype", "float32"),
            *("--batch-docs", BATCH_DOCUMENTS, "--max-quarantined", "20%", "--broker", self.broker_url, "--wait"),
        )
        if zombie == "feeder":
            until(lambda: journey.noted("asleep"), f"a sleeping feeder\n{journey.tail()}")
            resumed = self._resume(journey)
            journey.statuses += [feeder.wait(), resumed]
        else:
            journey.statuses.append(feeder.wait())
        while journey.statuses[-1] != 0 and len(journey.statuses) <= MOST_RESUMES:
            journey.statuses.append(self._resume(journey))
        if zombie == "child":
            until(lambda: journey.noted("ended") or not journey.struck_lives, "the end of a child that overslept")
        elif zombie == "parent":
            until(lambda: journey.noted("awake"), "a parent that is awake again")
        journey.verified = self.launcher.start(journey.folder, "verify", journey.out).wait()
        return journey

    def _resume(self, journey: Journey) -> int:
        words = ("resume", journey.out, "--devices", "cpu", "--broker", self.broker_url)
        return self.launcher.start(journey.folder, *words).wait()


def until(look: Callable[[], object], what: str) -> None:
    """Wait for something; its absence is a TimeoutError."""
    deadline = time.monotonic() + PATIENCE_S
    while not look():
        if time.monotonic() > deadline:
            raise TimeoutError(f"there never was {what}")
        time.sleep(0.05)
