"""What `doctor` reports: one line for each thing it looked at."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from pipelines.errors import PenstockError
from worker.cli.output import printable


class State(StrEnum):
    """How bad it is: a run works, a run works but somebody should act, a run fails."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(NamedTuple):
    """One line of the report: what was looked at, what was found, what to do about it."""

    name: str
    state: State
    found: str
    advice: str = ""


def examined(name: str, look: Callable[[], list[Finding]]) -> list[Finding]:
    """What a look found; an error that it raised is a failure with the error's own advice."""
    try:
        return look()
    except PenstockError as error:
        return [Finding(name, State.FAIL, error.message, error.hint)]


def line(finding: Finding) -> str:
    """A finding for a person."""
    return printable(f"{finding.state:<5} {finding.name:<9} {finding.found} {finding.advice}".rstrip())
