"""``_replay.json``: a replay of the quarantine is under way here. Written before the first part, gone with the seal."""

from __future__ import annotations

import json
from dataclasses import dataclass

from pipelines.documents import Reason
from pipelines.errors import UsageError, VerificationError
from pipelines.parts.layout import REPLAY
from pipelines.parts.store import Store

REPLAYABLE = (Reason.NOT_FINITE, Reason.CRASH, Reason.TIMEOUT, Reason.OUT_OF_MEMORY)
"""What extraction rejects for. What reading rejected is part of the plan: read again, it is rejected again."""


@dataclass(frozen=True, slots=True)
class ReplayMark:
    """What the replay takes, and the generation that it makes: parts whose footer says so are done.

    ``reason`` is None where all reasons that can be replayed are meant.
    """

    generation: int
    reason: Reason | None

    @property
    def reasons(self) -> tuple[Reason, ...]:
        return REPLAYABLE if self.reason is None else (self.reason,)


def check_replayable(reason: Reason | None) -> None:
    """Raises UsageError for a reason of reading."""
    if reason is not None and reason not in REPLAYABLE:
        raise UsageError(
            f"--reason is {reason}, wanted one of {', '.join(REPLAYABLE)}: what was rejected while reading stays so, "
            "since the corpus of a run does not change.",
            "Mend the corpus and start a new run in another folder.",
        )


def replay_command(root: object, reason: Reason | None) -> str:
    """The command that goes on with a replay."""
    return f"penstock quarantine replay {root}" + (f" --reason {reason}" if reason is not None else "")


def read_mark(store: Store) -> ReplayMark | None:
    """The replay that was begun and not sealed; None without one. Raises VerificationError where it is damaged."""
    data = store.read_if_present(REPLAY)
    if data is None:
        return None
    try:
        value = json.loads(data)
        reason = value["reason"]
        return ReplayMark(int(value["generation"]), None if reason is None else Reason(reason))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        path = store.root / REPLAY
        raise VerificationError(f"{path} is damaged.", "Remove it, then `penstock resume` seals the run.") from error


def put_mark(store: Store, mark: ReplayMark) -> None:
    """Say that a replay is under way."""
    store.replace(REPLAY, json.dumps({"generation": mark.generation, "reason": mark.reason}).encode() + b"\n")
