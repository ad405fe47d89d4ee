"""penstock's engine against its peers and the hardware, in one run on one machine: `make bench`.

    PYTHONPATH=tests python -m benchmarks.engine.bench [--out FOLDER] [--quick | --smoke] [--data FOLDER]
    PYTHONPATH=tests python -m benchmarks.engine.bench [--add token_cost] [--add memory] [--gpu FILE]

Writes benchmarks.json, benchmarks.md and, with matplotlib, plots into a folder; models and what is converted from them
stay in --work for the next time. A full run takes up to an hour, --quick a few minutes, --smoke seconds (a tiny model,
and of the peers only transformers). Outside data is looked for in PENSTOCK_TEST_DATA; without it the texts are made up,
and the page says so. What would take a full run beyond its hour is measured by itself and added to the results that are
there: token_cost (runs of 10,000 to 1,000,000 documents with a tiny model), memory (a worker's peak in each number
format), and with --gpu what benchmarks.gpu has written.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.engine import goals, journey, levels, models, page, plots, stages, texts
from benchmarks.engine.levels import Level
from benchmarks.engine.machine import load, machine
from benchmarks.engine.match import say

RESULTS, PAGE = "benchmarks.json", "benchmarks.md"
ADDED = {"token_cost": (models.TINY, journey.token_costs), "memory": (models.BASE, journey.memory)}
DOCS = Path(__file__).resolve().parents[3] / "docs"


def main() -> None:
    """The command line of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="default: docs for a full run, else the folder of --work")
    parser.add_argument("--work", type=Path, default=Path(".bench"))
    parser.add_argument("--data", type=Path, default=os.environ.get("PENSTOCK_TEST_DATA"))
    parser.add_argument("--add", action="append", choices=list(ADDED), default=[])
    parser.add_argument("--gpu", type=Path)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--quick", dest="level", action="store_const", const="quick", default="full")
    kind.add_argument("--smoke", dest="level", action="store_const", const="smoke")
    parser.add_argument("--page-only", action="store_true", help=f"write page and plots of the {RESULTS} that is there")
    given = parser.parse_args()
    out = given.out or (DOCS if given.level == "full" else given.work)
    # Whatever setting of whoever runs it would change what is measured.
    for name in [name for name in os.environ if name.startswith("PENSTOCK_") and name != "PENSTOCK_TEST_DATA"]:
        del os.environ[name]
    there = json.loads((out / RESULTS).read_text(encoding="utf-8")) if (out / RESULTS).exists() else {}
    if given.add or given.gpu:
        if not there:
            parser.error(f"there are no results in {out} to add to: run this without --add and --gpu first")
        found = {"gpu": json.loads(given.gpu.read_text(encoding="utf-8"))} if given.gpu else {}
        found |= {name: measure_alone(name, given.work.resolve(), given.data) for name in given.add}
        store(there | found, out)
    elif not given.page_only:
        added = {name: there[name] for name in (*ADDED, "gpu") if name in there}  # they say when they were measured
        store(measure(levels.LEVELS[given.level], given.work.resolve(), given.data) | added, out)
    elif there:
        store(there, out)
    publish(out)


def measure_alone(name: str, work: Path, data: Path | None) -> dict[str, Any]:
    """One of the parts that are added to the results of a run."""
    shape, part = ADDED[name]
    work, before, begun = work / ("real" if data else "made-up"), load(), _now()
    work.mkdir(parents=True, exist_ok=True)
    model, _ = models.make_models(shape, work / "models", data)
    found = part(model, work, data)
    return {"shape": shape.name, "started": begun, "cpu": machine()["cpu"], "load": before, **found}


def measure(level: Level, work: Path, data: Path | None) -> dict[str, Any]:
    """Everything that a level asks for, as JSON-ready values."""
    begun, before, found = time.monotonic(), load(), machine()
    results: dict[str, Any] = {
        "level": level.name,
        "started": _now(),
        "machine": found,
        "pass_s": level.pass_s,
        "rounds": level.rounds,
        "data": "outside data" if data else "made-up texts",
    }
    work = work / ("real" if data else "made-up")
    folders = {shape.name: models.make_models(shape, work / "models", data) for shape in _shapes(level)}
    corpora = {name: texts.load(name, data) for name in level.corpora}
    stage = stages.Stage(level, found["cores"], work, folders, corpora)
    results |= stages.engine_against_peers(stage)
    results |= stages.second_shape(stage, results)
    results["many_answers"] = stages.many_answers(stage)
    results["tokenizer"] = stages.tokenizer(stage)
    results["journey"] = stages.through_redis(stage, results)
    results["load"] = {"start": before, "end": load()}
    results["minutes"] = round((time.monotonic() - begun) / 60, 1)
    return results


def store(results: dict[str, Any], out: Path) -> None:
    """Keep the results where the page is, with what they say of the goals."""
    results["goals"] = goals.goals(results)
    out.mkdir(parents=True, exist_ok=True)
    (out / RESULTS).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for row in results["goals"]:
        say(f"{row['figure']}: {row['shown']} (goal {row['goal']}): {row['verdict']}")


def publish(out: Path) -> None:
    """The page and the plots of what is stored; a page that says so where nothing is."""
    if not (out / RESULTS).exists():
        (out / PAGE).write_text(page.empty_page(levels.FULL.pass_s, levels.FULL.rounds), encoding="utf-8")
        return
    results = json.loads((out / RESULTS).read_text(encoding="utf-8"))
    try:
        drawn = plots.draw(results, out)
    except ModuleNotFoundError as error:
        print(f"No plots: {error}.", file=sys.stderr)
        drawn = []
    (out / PAGE).write_text(page.page(results, drawn), encoding="utf-8")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _shapes(level: Level) -> list[models.Shape]:
    return [level.shape, level.large] if level.large else [level.shape]


if __name__ == "__main__":
    main()
