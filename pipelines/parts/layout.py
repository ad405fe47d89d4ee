"""What the files of a run's folder are called. Whatever may be written twice is named by its number or its content."""

from __future__ import annotations

import re

DATA = "data"
PLAN = "_plan"
QUARANTINE = "_quarantine"
TEMPORARY = "_tmp"
SPOOLED = "_corpus"
RUN = "_run.json"
LIVE = "_live.json"
LOCK = "_lock"
REPLAY = "_replay.json"
PLAN_SEALED = "_plan/SEALED.json"
MANIFEST = "_manifest.json"
SUCCESS = "_SUCCESS"
CARD = "README.md"

_PART = re.compile(r"part-(\d{8,})\.parquet")
_QUARANTINE = re.compile(r"part-(\d{8,})-([0-9a-f]{8})\.parquet")
_SEGMENT = re.compile(r"seg-(\d{8,})\.json")


def part_name(batch: int) -> str:
    """The name of a batch's part; its existence is the commit of the batch."""
    return f"{DATA}/part-{batch:08d}.parquet"


def quarantine_name(batch: int, sha256: str) -> str:
    """The name of a quarantine file: batch and the start of the digest of its bytes."""
    return f"{QUARANTINE}/part-{batch:08d}-{sha256[:8]}.parquet"


def segment_name(segment: int) -> str:
    """The name of a plan segment."""
    return f"{PLAN}/seg-{segment:08d}.json"


def suspicion_name(run: str, batch: int) -> str:
    """The name of what the deaths at a batch have left, while it has no part."""
    return f"{TEMPORARY}/suspicion-{run}-{batch:08d}.json"


def dead_letter_name(run: str, batch: int) -> str:
    """The name of the note that a batch was given up."""
    return f"{TEMPORARY}/dead-{run}-{batch:08d}.txt"


def cancellation_name(run: str) -> str:
    """The name of the note that a run is cancelled."""
    return f"{TEMPORARY}/cancelled-{run}"


def batch_of_part(file_name: str) -> int | None:
    """The batch of a file in ``data/``; None if no part has such a name."""
    return _number(_PART, file_name, "part-{:08d}.parquet")


def segment_of(file_name: str) -> int | None:
    """The number of a file in ``_plan/``; None if no segment has such a name."""
    return _number(_SEGMENT, file_name, "seg-{:08d}.json")


def batch_of_quarantine(file_name: str) -> tuple[int, str] | None:
    """Batch and digest start of a file in ``_quarantine/``; None if no quarantine file has such a name."""
    match = _QUARANTINE.fullmatch(file_name)
    if match is None or f"{int(match[1]):08d}" != match[1]:
        return None
    return int(match[1]), match[2]


def _number(pattern: re.Pattern[str], file_name: str, form: str) -> int | None:
    match = pattern.fullmatch(file_name)
    # Nine digits with a leading zero would be a second name for the same number.
    if match is None or form.format(int(match[1])) != file_name:
        return None
    return int(match[1])
