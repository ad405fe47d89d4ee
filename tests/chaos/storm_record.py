"""What is written down of a storm, and of many: hits, recoveries, results, and the table of them all."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

VICTIMS = ("child", "parent", "command", "feeder", "redis")
RECOVERIES = {"worker": "killed worker", "child": "killed child", "lost": "lost message"}
ALONE = " alone"
FIGURES_S = {"worker": 135, "child": 15, "lost": 30}


@dataclass(frozen=True, slots=True)
class Hit:
    """Batches that a kill of some kind (or the loss of a message) hit, at a time of the wall clock.

    ``alone``: nothing else was done until they were recovered.
    """

    kind: str
    at: float
    batches: tuple[int, ...]
    alone: bool = False

    @property
    def name(self) -> str:
        return self.kind + ALONE * self.alone


@dataclass
class Result:
    """What came of one storm; ``recoveries`` are seconds by kind, ``problems`` whatever should not have been."""

    seed: int
    model: str
    trouble: str
    workers: int
    lease_s: float
    kills: dict[str, int] = field(default_factory=dict)
    restarts: int = 0
    flushes: int = 0
    lost_messages: int = 0
    batches: int = 0
    deliveries: int = 0
    lost_rows: int = 0
    duplicated_rows: int = 0
    hangs: int = 0
    seconds: float = 0.0
    recoveries: dict[str, list[float]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    logs: str = ""

    @property
    def redelivered(self) -> int:
        return max(0, self.deliveries - self.batches)

    @property
    def failed(self) -> bool:
        return bool(self.problems or self.lost_rows or self.duplicated_rows or self.hangs)

    def line(self) -> str:
        """One line for a person."""
        kills = " ".join(f"{kind} {self.kills.get(kind, 0)}" for kind in VICTIMS)
        worst = " ".join(f"{kind} {max(times):.1f}" for kind, times in self.recoveries.items() if times)
        return (
            f"seed {self.seed}: {self.model}, {self.trouble}, {self.workers} worker(s), lease {self.lease_s:.0f} s; "
            f"{sum(self.kills.values())} kills ({kills}), {self.restarts} restarts, {self.redelivered} redelivered, "
            f"{self.lost_rows} rows lost, {self.duplicated_rows} twice, {'HANGS, ' if self.hangs else ''}"
            f"slowest recovery [s]: {worst or '-'}; {self.seconds:.0f} s"
            + (f"\n  FAILED: {'; '.join(self.problems) or 'rows'}; logs in {self.logs}" if self.failed else "")
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def recoveries(hits: Iterable[Hit], parts: Mapping[int, Path]) -> dict[str, list[float]]:
    """Seconds from each hit to the part of the batch it hit; only the last hit of a batch is measured.

    A batch whose part is older than the hit was finished already, and its worker died on the way to say so.
    """
    last: dict[int, Hit] = {}
    for hit in sorted(hits, key=lambda hit: hit.at):
        for batch in hit.batches:
            if batch in parts and parts[batch].stat().st_mtime >= hit.at:
                last[batch] = hit
    found: dict[str, list[float]] = {}
    for batch, hit in sorted(last.items()):
        found.setdefault(hit.name, []).append(round(parts[batch].stat().st_mtime - hit.at, 2))
    return found


def table(results: Iterable[Result]) -> str:
    """The sum of storms, as Markdown."""
    all_of = list(results)
    kills: Counter[str] = Counter()
    times: dict[str, list[float]] = {kind + how: [] for kind in RECOVERIES for how in (ALONE, "")}
    for result in all_of:
        kills.update(result.kills)
        for kind, seconds in result.recoveries.items():
            times[kind] += seconds
    models = Counter(result.model for result in all_of)
    troubles = Counter(result.trouble for result in all_of)
    rows = [
        ("storms", f"{len(all_of):,} ({_counts(models)})"),
        ("their troubles besides kills", _counts(troubles)),
        ("kills", f"{sum(kills.values()):,} ({', '.join(f'{kind} {kills[kind]:,}' for kind in VICTIMS)})"),
        ("FLUSHALLs", f"{sum(result.flushes for result in all_of):,}"),
        ("messages lost on purpose", f"{sum(result.lost_messages for result in all_of):,}"),
        ("batches", f"{sum(result.batches for result in all_of):,}"),
        ("redeliveries", f"{sum(result.redelivered for result in all_of):,}"),
        ("lost rows", f"{sum(result.lost_rows for result in all_of):,}"),
        ("duplicated rows", f"{sum(result.duplicated_rows for result in all_of):,}"),
        ("hangs", f"{sum(result.hangs for result in all_of):,}"),
        ("storms with any other fault", f"{sum(bool(result.problems) for result in all_of):,}"),
    ]
    for kind, name in RECOVERIES.items():
        rows.append((f"recovery of a {name}", f"{_quantiles(times[kind + ALONE])}, wanted ≤ {FIGURES_S[kind]} s"))
    rows += [
        (f"the same while the storm goes on: {name}", _quantiles(times[kind])) for kind, name in RECOVERIES.items()
    ]
    return "\n".join(["| what | how many |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counter.items()))


def _quantiles(values: list[float]) -> str:
    return f"of {len(values):,}: p50 {_quantile(values, 0.5)}, p99 {_quantile(values, 0.99)}"


def _quantile(values: list[float], share: float) -> str:
    """By nearest rank: a value that was measured, not one in between."""
    if not values:
        return "-"
    return f"{sorted(values)[math.ceil(share * len(values)) - 1]:.1f} s"
