"""What a run came to, added up from its parts' footers: the same numbers at the seal and a year later."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from pipelines.parts.footer import Footer

BRIDGED_GAP_S = 10.0
"""Pauses shorter than this between two batches count as work: nobody was asleep, a batch was on its way."""


@dataclass(frozen=True, slots=True)
class WorkerSummary:
    """What one slot did; ``seconds`` are spent between claiming and committing batches."""

    slot: str
    device: str
    documents: int
    tokens: int
    seconds: float
    peak_rss_bytes: int
    host: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """A finished run in numbers (contract: *run --json*).

    documents = rows + quarantined + dead_letter_documents. ``duplicate_ids`` counts rows whose id an earlier row has,
    ``warnings`` kept values that became null, ``truncated`` documents of which not all tokens were used; ``bytes`` are
    those of the parts, ``seconds`` those in which at least one batch was worked on. ``repeated`` counts rows that were
    not computed, because an earlier one of their batch has the same text.
    """

    run: str
    out: str
    state: str
    documents: int
    rows: int
    quarantined: int
    dead_letter_documents: int
    duplicate_ids: int
    blank_lines: int
    tokens: int
    tokens_used: int
    truncated: int
    parts: int
    bytes: int
    seconds: float
    workers: tuple[WorkerSummary, ...]
    quarantined_by_reason: Mapping[str, int]
    warnings: int
    generation: int
    repeated: int = 0

    def to_json(self) -> dict[str, Any]:
        """As JSON-ready values."""
        value = asdict(self)
        value["workers"] = [asdict(worker) for worker in self.workers]
        value["quarantined_by_reason"] = dict(self.quarantined_by_reason)
        return value


def summary_from_json(value: Mapping[str, Any], *, out: str, state: str) -> Summary:
    """The way back from :meth:`Summary.to_json`. Raises KeyError or TypeError where it is something else."""
    known = {
        field.name: value[field.name] for field in fields(Summary) if field.name not in ("out", "state", "repeated")
    }
    known["repeated"] = value.get("repeated", 0)  # younger than many a manifest
    known["workers"] = tuple(WorkerSummary(**worker) for worker in value["workers"])
    return Summary(**known, out=out, state=state)


class Tally:
    """Adds up footers; 16 bytes of memory for each part."""

    def __init__(self) -> None:
        self.parts = 0
        self.bytes = 0
        self.generation = 1
        self.sums: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self._workers: dict[tuple[str, str, str], list[float]] = {}
        self._started = array("d")
        self._committed = array("d")

    def add(self, footer: Footer, size_bytes: int) -> None:
        """Count one part."""
        self.parts += 1
        self.bytes += size_bytes
        self.generation = max(self.generation, footer.generation)
        for name in ("rows", "rejects", "warnings", "tokens", "tokens_used", "truncated", "repeated"):
            self.sums[name] += getattr(footer, name)
        self.reasons.update(footer.rejects_by_reason)
        self._started.append(footer.started_unix_s)
        self._committed.append(footer.committed_unix_s)
        worker = self._workers.setdefault((footer.host, footer.slot, footer.device), [0, 0, 0.0, 0])
        worker[0] += footer.count
        worker[1] += footer.tokens
        worker[2] += max(0.0, footer.committed_unix_s - footer.started_unix_s)
        worker[3] = max(worker[3], footer.peak_rss_bytes)

    def seconds(self) -> float:
        """Length of the union of all parts' intervals, short gaps bridged."""
        return union_s(np.frombuffer(self._started), np.frombuffer(self._committed)) if self.parts else 0.0

    def workers(self) -> tuple[WorkerSummary, ...]:
        """One entry per host, slot and device, sorted."""
        return tuple(
            WorkerSummary(slot, device, int(documents), int(tokens), round(seconds, 3), int(peak), host)
            for (host, slot, device), (documents, tokens, seconds, peak) in sorted(self._workers.items())
        )


def union_s(started: np.ndarray[Any, Any], ended: np.ndarray[Any, Any], gap_s: float = BRIDGED_GAP_S) -> float:
    """Seconds covered by intervals, of which those less than ``gap_s`` apart count as one.

    *Shape:* ``[intervals]`` each, in seconds.
    """
    order = np.argsort(started, kind="stable")
    begin = started[order]
    reach = np.maximum.accumulate(np.maximum(ended[order], begin))
    gaps = begin[1:] - reach[:-1]
    return round(float(reach[-1] - begin[0] - gaps[gaps >= gap_s].sum()), 3)
