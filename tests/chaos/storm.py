"""Seeded storms: real processes killed at random, and the table of what became of their runs.

    PYTHONPATH=tests python -m chaos.storm --seeds 20 --first 1 --jobs 3 --json results.jsonl

Each storm is a process of its own; the logs of those that found something are kept in the folder.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from chaos.storm_material import Material, prepare
from chaos.storm_plan import plan_storm
from chaos.storm_record import Result, table

from worker.lifeline import die_with_parent

LIMIT_S = 1200.0
"""More than any storm takes with all its patience."""


@dataclass
class _Running:
    seed: int
    folder: Path
    process: subprocess.Popen[bytes]
    started: float


def storms(seeds: list[int], jobs: int, folder: Path, *, quick: bool, results_file: Path | None) -> list[Result]:
    """Run the storms of these seeds, so many at a time; one line each is printed as they end."""
    tiny = any(plan_storm(seed, quick=quick).model == "tiny" for seed in seeds)
    material = prepare(folder / "material", tiny=tiny)
    waiting, running, results = list(seeds), list[_Running](), list[Result]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(_start(waiting.pop(0), folder, material, quick=quick))
            time.sleep(0.2)
            for one in [one for one in running if _is_over(one)]:
                running.remove(one)
                result = _result(one, quick=quick)
                results.append(result)
                print(result.line(), flush=True)
                if results_file is not None:
                    with results_file.open("a") as file:
                        file.write(json.dumps(result.to_json()) + "\n")
    finally:
        for one in running:
            one.process.terminate()
        for one in running:
            one.process.wait()
    return results


def read_results(path: Path) -> list[Result]:
    """The results of a file that ``--json`` wrote: for each seed the last one."""
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    return list({line["seed"]: Result(**line) for line in lines}.values())


def _start(seed: int, folder: Path, material: Material, *, quick: bool) -> _Running:
    own = folder / f"seed-{seed}"
    command = [sys.executable, "-m", "chaos.storm_one", "--seed", str(seed), "--folder", str(own)]
    command += ["--material", str(material.folder), *(["--quick"] if quick else [])]
    # Output beside the folder: the storm empties that, and removes it where all went well.
    with own.with_suffix(".json").open("wb") as out, own.with_suffix(".log").open("wb") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, preexec_fn=die_with_parent())
    return _Running(seed, own, process, time.monotonic())


def _is_over(one: _Running) -> bool:
    if one.process.poll() is None and time.monotonic() - one.started > LIMIT_S:
        one.process.terminate()
        one.process.wait()
    return one.process.poll() is not None


def _result(one: _Running, *, quick: bool) -> Result:
    out, err = one.folder.with_suffix(".json"), one.folder.with_suffix(".log")
    said = out.read_text().strip()
    if said:
        result = Result(**json.loads(said))
    else:
        plan = plan_storm(one.seed, quick=quick)
        result = Result(one.seed, plan.model, plan.trouble.value, plan.workers, plan.lease_s, logs=str(err))
        result.problems.append(f"the storm itself ended with {one.process.returncode}: {err.read_text()[-500:]}")
    if not result.failed:
        out.unlink()
        err.unlink()
    return result


def main() -> int:
    """The command line of this file."""
    parser = argparse.ArgumentParser(description="Seeded storms of kills, and the table of what became of the runs.")
    parser.add_argument("--seeds", type=int, default=20, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--jobs", type=int, default=3, help="storms at the same time")
    parser.add_argument("--folder", type=Path, default=Path(".chaos"), help="for what they need and what they leave")
    parser.add_argument("--json", type=Path, metavar="FILE", help="add one line per storm to FILE")
    parser.add_argument("--quick", action="store_true", help="half a minute each, short leases, no real model")
    arguments = parser.parse_args()
    seeds = list(range(arguments.first, arguments.first + arguments.seeds))
    folder = arguments.folder.resolve()
    results = storms(seeds, arguments.jobs, folder, quick=arguments.quick, results_file=arguments.json)
    print(f"\n{table(results)}")
    failed = [result for result in results if result.failed]
    for result in failed:
        print(f"seed {result.seed} failed: logs in {result.logs}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
