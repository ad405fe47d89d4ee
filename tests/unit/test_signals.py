"""Signals that end a command: the first in order, an impatient second one at once."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

TWICE = """
import os, signal, sys, time
from worker.session import ONE_SIGNAL_S, InterruptionError, signals_raise
try:
    with signals_raise():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30)
        finally:
            time.sleep(float(sys.argv[1]) * ONE_SIGNAL_S)
            os.kill(os.getpid(), signal.SIGTERM)
except InterruptionError as error:
    print(error.message)
    sys.exit(7)
"""


@pytest.mark.parametrize(("pause", "code"), [(0, 7), (1.5, 128 + signal.SIGINT)])
def test_one_signal_that_comes_twice_is_no_second_one(pause: float, code: int) -> None:
    command = [sys.executable, "-c", TWICE, str(pause)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == code, ended.stderr
    assert ("Interrupted by SIGTERM" in ended.stdout) == (code == 7)
