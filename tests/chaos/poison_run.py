"""A run over a corpus with poison beside the same run without its effects: who was quarantined, and what it cost.

``python tests/chaos/poison_run.py --documents 100000`` prints the table and exits with 1 where anything is not as it
must be; ``make test`` calls :func:`poison_run` with fewer documents.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil
import pyarrow.dataset as ds
from chaos.disturbance import Command, assert_same_rows, rows
from chaos.poison_corpus import LONG_LINE, POISON, UNREADABLE, Poison, text_of, write_corpus

TESTS = Path(__file__).resolve().parents[1]
HANG_LIMIT_S = 8.0
MOST_DEATHS = 10


@dataclass
class Outcome:
    """What a run left: its quarantine, what its child told, and what it took."""

    out: Path
    seconds: float
    peak_rss: dict[str, int]
    events: list[dict[str, Any]]
    command: Command
    quarantine: list[dict[str, Any]] = field(default_factory=list)

    def durations(self, batches: set[int], clock: str) -> list[float]:
        """Seconds of the attempts that ended, at these batches: by the wall (``at``), or of the processor (``cpu``)."""
        found, begun = [], {"batch": -1}
        for event in self.events:
            if event["what"] == "begin":
                begun = event
            elif event["what"] == "end" and event["batch"] == begun["batch"] and event["batch"] in batches:
                found.append(event[clock] - begun[clock])
        return found

    def starts(self) -> list[float]:
        """Seconds from the birth of each child to its loaded model."""
        return [event["at"] - event["born"] for event in self.events if event["what"] == "ready"]

    def losses(self, document: str) -> list[tuple[float, float]]:
        """For each death of a document: seconds from taking its batch to the next child that is ready, and its start.

        What is lost is the way to the document (the innocent first), the hang if it is one, and the start.
        """
        found, begun = [], 0.0
        for index, event in enumerate(self.events):
            if event["what"] == "begin":
                begun = event["at"]
            elif event["what"] == "struck" and event["document"] == document:
                others = (other for other in self.events[index:] if other["what"] == "ready")
                following = next((other for other in others if other["pid"] != event["pid"]), None)
                if following is not None:
                    found.append((following["at"] - begun, following["at"] - following["born"]))
        return found


def run(
    folder: Path,
    corpus: Path,
    model: Path,
    batch_docs: int,
    *,
    harmless: bool,
    max_quarantined: int,
    environment: dict[str, str],
) -> Outcome:
    """One run with one worker; watched for what memory each of its processes takes."""
    name = "clean" if harmless else "poisoned"
    out, events = folder / name, folder / f"{name}.events"
    command = Command(
        folder,
        *("run", corpus, "--out", out, "--model", model, "--batch-docs", batch_docs, "--devices", "cpu"),
        *("--max-quarantined", max_quarantined, "--dtype", "float32"),
        PYTHONPATH=os.pathsep.join([str(TESTS), str(TESTS.parent)]),
        POISON_EVENTS=str(events),
        POISON_HARMLESS="1" if harmless else "",
        **{"PENSTOCK_INCLUDE": "chaos.poison", "PENSTOCK_HANG_LIMIT_S": str(HANG_LIMIT_S), **environment},
    )
    started, peak = time.monotonic(), dict.fromkeys(("feeder", "worker child"), 0)
    while command.process.poll() is None:
        for process, key in _watched(command):
            try:
                peak[key] = max(peak[key], process.memory_info().rss)
            except psutil.Error:
                continue
        time.sleep(0.1)
    took = time.monotonic() - started
    assert command.process.returncode == 0, command.tail()
    told = [json.loads(line) for line in events.read_text().splitlines()]
    files = sorted(str(path) for path in (out / "_quarantine").glob("*.parquet"))
    quarantine = ds.dataset(files, format="parquet").to_table().to_pylist() if files else []
    return Outcome(out, took, peak, told, command, quarantine)


def _watched(command: Command) -> list[tuple[psutil.Process, str]]:
    try:
        feeder = psutil.Process(command.process.pid)
        children = [(child, "worker child") for child in feeder.children(True) if "spawn_main" in str(child.cmdline())]
        return [(feeder, "feeder"), *children]
    except psutil.Error:
        return []


@dataclass(frozen=True, slots=True)
class Line:
    """A document of the table. ``deaths`` are those it caused; times in seconds."""

    document: str
    poison: Poison
    reason: str
    deaths: int
    lost_s: float
    bound_s: float


def poison_run(
    folder: Path, model: Path, items: Iterable[Poison], *, documents: int, batch_docs: int, **environment: str
) -> list[Line]:
    """Both runs, compared; prints the table. Raises AssertionError where not exactly the poison was quarantined."""
    corpus = folder / "corpus.jsonl"
    planted = write_corpus(corpus, documents, items)
    clean, poisoned = (
        run(folder, corpus, model, batch_docs, harmless=harmless, max_quarantined=many, environment=environment)
        for harmless, many in ((True, len(planted)), (False, len(planted)))
    )
    numbers = {f"doc-{number}": number for number in range(documents)}
    by_line = {item.index(documents) + 1: document for document, item in planted.items()}
    reasons = {by_line.get(row["line"], row["id"]): row["reason"] for row in poisoned.quarantine}
    assert reasons == {document: item.reason for document, item in planted.items()}
    assert len(poisoned.quarantine) == len(planted)
    assert rows(poisoned.out).column("id").to_pylist() == [document for document in numbers if document not in planted]
    expected = rows(clean.out)
    assert_same_rows(poisoned.out, expected.filter([name not in planted for name in expected.column("id").to_pylist()]))
    struck = Counter(event["document"] for event in poisoned.events if event["what"] == "struck")
    start_s = statistics.mean(poisoned.starts())
    lines = []
    for document, item in planted.items():
        deaths = struck[document] if item.deadly else 0
        lost = poisoned.losses(document) if item.deadly else []
        limit_s = float(environment.get("PENSTOCK_HANG_LIMIT_S", HANG_LIMIT_S))
        bound_s = sum(start + limit_s for _, start in lost)
        lines.append(Line(document, item, reasons[document], deaths, sum(seconds for seconds, _ in lost), bound_s))
    disturbed = {numbers[document] // batch_docs for document in planted}
    print_table(lines, clean, poisoned, disturbed, documents, batch_docs, start_s)
    return lines


def print_table(
    lines: list[Line],
    clean: Outcome,
    poisoned: Outcome,
    disturbed: set[int],
    documents: int,
    batch_docs: int,
    start_s: float,
) -> None:
    """For people: nothing here decides whether the run was right."""
    print(f"{documents:,} documents in batches of {batch_docs:,}; a child starts in {start_s:.1f} s (mean), ", end="")
    print(f"hang limit {HANG_LIMIT_S:.0f} s unless the test says otherwise")
    print("| document | way | deaths | reason | time lost | deaths x (start + hang limit) |")
    print("|---|---|---|---|---|---|")
    for line in lines:
        times = f"{line.lost_s:.1f} s | {line.bound_s:.1f} s"
        print(f"| {line.document} | {line.poison.way} | {line.deaths} | {line.reason} | {times} |")
    deaths, lost = sum(line.deaths for line in lines), sum(line.lost_s for line in lines)
    print(f"{deaths} deaths, {lost:.0f} s lost; the clean run took {clean.seconds:.0f} s, ", end="")
    print(f"the poisoned one {poisoned.seconds:.0f} s")
    undisturbed = set(range(-(-documents // batch_docs))) - disturbed
    for name, outcome in (("clean", clean), ("poisoned", poisoned)):
        taken, computed = outcome.durations(undisturbed, "at"), outcome.durations(undisturbed, "cpu")
        middle = statistics.median(taken)
        memory = ", ".join(f"{key} {value >> 20} MiB" for key, value in outcome.peak_rss.items())
        print(f"{name}: {len(taken)} undisturbed batches, median {middle:.3f} s ", end="")
        print(
            f"({batch_docs / middle:,.0f} documents/s), of the processor {statistics.median(computed):.3f} s; ", end=""
        )
        print(f"peak {memory}")


def make_model(out: Path) -> Path:
    """The tiny model of the tests, with random weights."""
    from conftest import example

    path: Path = example("make_model").make_model(
        [text_of(number) for number in range(300)], out, vocab_size=600, max_positions=130
    )
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--batch-docs", type=int, default=1_000)
    parser.add_argument("--ways", default="", help="only these, by commas; all without it")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("PENSTOCK_PROOF_DOCUMENTS", "0")
    with tempfile.TemporaryDirectory(prefix="penstock-poison-") as place:
        folder = Path(place)
        ways = set(filter(None, options.ways.split(",")))
        items = [item for item in (*POISON, *UNREADABLE, LONG_LINE) if not ways or item.way in ways]
        model = make_model(folder / "model")
        lines = poison_run(folder, model, items, documents=options.documents, batch_docs=options.batch_docs)
    worst = max(lines, key=lambda line: line.deaths)
    if worst.deaths > MOST_DEATHS:
        print(f"{worst.document} cost {worst.deaths} child deaths, more than {MOST_DEATHS}.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
