"""How long a batch waits after its child was killed: ``python tests/chaos/poison_recovery.py --kills 30``.

Two times from each kill: until a child is at work again, and until the killed batch is (its next claim).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil
from chaos.disturbance import Command
from chaos.poison_corpus import write_corpus
from conftest import example

TESTS = Path(__file__).resolve().parents[1]


def read(path: Path) -> list[dict[str, Any]]:
    """The events so far; none where there is no file yet."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def kill_some(command: Command, events: Path, kills: int, seed: int) -> list[tuple[float, int]]:
    """Kill the child in the middle of batches, at random; when, and at which batch."""
    chance = random.Random(seed)
    done: list[tuple[float, int]] = []
    struck: set[int] = set()
    while len(done) < kills and command.process.poll() is None:
        told = read(events)
        last = told[-1] if told else {"what": "", "pid": 0}
        # Not the first batch of a child: it may come some way before it is killed.
        seasoned = any(event["what"] == "end" and event["pid"] == last["pid"] for event in told)
        if last["what"] == "begin" and seasoned and last["pid"] not in struck:
            time.sleep(chance.random() * 0.5)
            if read(events)[-1] == last:
                struck.add(last["pid"])
                done.append((time.time(), last["batch"]))
                psutil.Process(last["pid"]).kill()
        time.sleep(0.05)
    return done


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="penstock-recovery-") as place:
        folder = Path(place)
        corpus, events = folder / "corpus.jsonl", folder / "events"
        write_corpus(corpus, 100 * 64, ())
        texts = ["the river", "a mill", "our valley"]
        model = example("make_model").make_model(
            texts, folder / "model", vocab_size=300, max_positions=130, hidden_size=8
        )
        command = Command(
            folder,
            *("run", corpus, "--out", folder / "out", "--model", model, "--batch-docs", 64, "--devices", "cpu"),
            *("--dtype", "float32"),
            PENSTOCK_INCLUDE="chaos.noop_model,chaos.poison",
            PYTHONPATH=os.pathsep.join([str(TESTS), str(TESTS.parent)]),
            PENSTOCK_PROOF_DOCUMENTS="0",
            NOOP_MICRO_BATCH="16",
            NOOP_PAUSE_S="0.2",
            POISON_EVENTS=str(events),
        )
        try:
            kills = kill_some(command, events, options.kills, options.seed)
            command.wait()
        finally:
            command.stop()
        told = [event for event in read(events) if event["what"] == "begin"]
    print(f"{len(kills)} kills of a child, exit code {command.process.returncode}")
    for what, batches in (("any batch", False), ("the killed batch", True)):
        taken = sorted(
            min(event["at"] - at for event in told if event["at"] > at and (not batches or event["batch"] == batch))
            for at, batch in kills
        )
        p50, p99 = statistics.median(taken), taken[min(len(taken) - 1, int(0.99 * len(taken)))]
        print(f"until {what} is at work again: p50 {p50:.1f} s, p99 {p99:.1f} s, longest {taken[-1]:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
