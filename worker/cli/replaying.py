"""A replay in a process of its own: what kills it, or hangs, is found by trying again, as workers do it.

The process leaves a trail of what it has in hand. Where it ends without a word, or does not come on for too long,
another one goes on with smaller groups of the suspects, until the guilty document is alone and is set aside.
"""

from __future__ import annotations

import logging
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from pipelines.errors import CancelledError, SurroundingsError
from pipelines.parts.replay_trail import last_taken, mark_hung, trail_bytes
from pipelines.parts.store import Store
from worker.cli.output import counted
from worker.lifeline import die_with_parent
from worker.session import ONE_SIGNAL_S

IN_THIS_PROCESS = "--in-this-process"
POLL_S = 0.1
TIMES_THE_MEDIAN = 20
"""A piece of work that takes so many times as long as others did is a hang, once the limit is over."""
logger = logging.getLogger(__name__)


def replay_watched(arguments: Sequence[str], store: Store, hang_limit_s: float) -> int:
    """Run the command of these arguments until it ends by itself; the exit code is its own.

    Raises SurroundingsError where its process dies with no document in hand.
    """
    while True:
        # -P: the folder's own files are none of ours, however they are named.
        command = [sys.executable, "-P", "-m", "worker", *arguments, IN_THIS_PROCESS]
        with _started(command) as process, _passing_on(process):
            hung = _wait(process, store, hang_limit_s)
        if process.returncode >= 0:
            return process.returncode
        taken = last_taken(store)
        if taken is None or not taken.documents:
            raise SurroundingsError(
                f"The replay's process was ended by {signal.Signals(-process.returncode).name}, no document in hand.",
                "Is memory too small for the model? Call it again, and it goes on.",
            )
        if hung:
            mark_hung(store)
        logger.warning(
            "The process %s at batch %d, %s in hand; another one goes on.",
            "did not come on and was killed" if hung else f"died ({signal.Signals(-process.returncode).name})",
            taken.batch,
            counted(taken.documents, "document"),
        )


def _started(command: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, preexec_fn=die_with_parent())  # noqa: S603 (our own words, no shell)


def _wait(process: subprocess.Popen[bytes], store: Store, hang_limit_s: float) -> bool:
    """Wait for the end; True where it had to be killed, for it did not come on."""
    place, taken, since = trail_bytes(store), None, time.monotonic()  # what an earlier one left is not its doing
    lasted: list[float] = []
    while process.poll() is None:
        time.sleep(POLL_S)
        if (found := trail_bytes(store)) != place:
            if taken is not None and taken.documents:
                lasted.append(time.monotonic() - since)
            place, taken, since = found, last_taken(store), time.monotonic()
        elif taken is not None and taken.documents:
            usual_s = TIMES_THE_MEDIAN * statistics.median(lasted) if lasted else 0.0
            if time.monotonic() - since > max(hang_limit_s, usual_s):
                process.kill()
                process.wait()
                return True
    return False


@contextmanager
def _passing_on(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Signals are the process's to obey; a second one, which it may be too stuck for, ends it."""
    first: float | None = None

    def pass_on(number: int, _: FrameType | None) -> None:
        nonlocal first
        if first is not None and time.monotonic() - first >= ONE_SIGNAL_S:
            process.kill()
            raise CancelledError("Interrupted.")
        first = first or time.monotonic()
        process.send_signal(number)

    previous = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
