"""The plumbing alone: JSON Lines to sealed Parquet by `penstock run`, with a model that computes nothing.

    python tests/benchmarks/plumbing.py --out FOLDER [--documents 10000000] [--batch-docs 4096] [--transport value]
    python tests/benchmarks/plumbing.py --out FOLDER --feed-only

Corpus (about 100 bytes for a document) and model are made in the folder, and found there the next time. One worker
process. Every process is looked at twice a second; the rates come from the times in the footers. NOOP_MICRO_BATCH
(documents between two renewals of the lease) is 1024 here. With --feed-only nobody works: the window is made large
enough for all, so --documents should be a million at most, and what the feeder alone does is measured.

Prints one JSON object. Rates are in documents per second of the clock, so other programs lower them; CPU seconds are
given too. ``tenths`` are the rates of committing each tenth of the batches after the first; ``end_over_start`` divides
the median of the last three by that of the first three. The same in CPU time is there for machines that are shared.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from unit_costs import write_corpus

from pipelines.parts.footer import read_footer_file

ROOT = Path(__file__).resolve().parents[2]
KINDS = {"redis-server": "redis", "worker.app": "worker_parent", "spawn_main": "worker_child", "-m worker": "command"}


def made_model(folder: Path) -> Path:
    """A checkpoint eight wide; only its config, tokenizer and digests are looked at."""
    if not folder.exists():
        spec = importlib.util.spec_from_file_location("make_model", ROOT / "examples" / "make_model.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        texts = [f"the river fills a pump and number {n} turns" for n in range(300)]
        module.make_model(texts, folder, vocab_size=600, max_positions=130, hidden_size=8)
    return folder


def kind_of(process: psutil.Process) -> str | None:
    line = " ".join(process.cmdline())
    return next((kind for word, kind in KINDS.items() if word in line), None)


class Watch:
    """Resident bytes and CPU seconds of the command and all that it started, by kind; the parts there are."""

    def __init__(self, root: psutil.Process, parts: Path) -> None:
        self.root = root
        self.parts = parts
        self.progress: list[tuple[int, float]] = []
        self.begun = time.monotonic()
        self.memory: dict[str, list[tuple[float, int]]] = {}
        self.cpu: dict[str, float] = {}

    def look(self) -> None:
        try:
            for process in [self.root, *self.root.children(recursive=True)]:
                kind = kind_of(process)
                if kind is None:
                    continue
                place = self.memory.setdefault(kind, [])
                place.append((time.monotonic() - self.begun, int(process.memory_info().rss)))
                times = process.cpu_times()
                self.cpu[kind] = times.user + times.system
        except psutil.NoSuchProcess:
            return
        if self.parts.is_dir():
            self.progress.append((sum(1 for _ in self.parts.iterdir()), sum(self.cpu.values())))

    def cpu_tenths(self, documents: int) -> list[float]:
        """Microseconds of CPU of all processes together for a document, in each tenth of the parts."""
        parts, spent = np.array(self.progress, float).T
        ends = np.linspace(parts[parts > 0][0], parts[-1], 11)
        seen, first = np.unique(parts, return_index=True)
        places = np.interp(ends, seen, spent[first])
        share = documents * (parts[-1] - ends[0]) / parts[-1] / 10
        return [round(float(value), 2) for value in np.diff(places) / share * 1e6]

    def summary(self) -> dict[str, Any]:
        """Of each kind: its largest size in the second fifth of the run, in the fifth before the last, and of all."""
        end = time.monotonic() - self.begun
        result = {}
        for kind, seen in self.memory.items():
            early, late = (
                max((size for at, size in seen if low * end <= at < high * end), default=0)
                for low, high in ((0.2, 0.4), (0.6, 0.8))
            )
            peak = max(size for _, size in seen)
            result[kind] = {"rss_early": early, "rss_late": late, "rss_peak": peak, "cpu_s": round(self.cpu[kind], 2)}
        return result


def rates(out: Path) -> dict[str, Any]:
    """How many documents were committed per second, tenth by tenth of the batches in the order of their commits."""
    footers = [read_footer_file(path) for path in (out / "data").glob("*.parquet")]
    marks = sorted((footer.committed_unix_s, footer.count) for footer in footers)
    size = max(1, (len(marks) - 1) // 10)
    tenths = []
    for tenth in range(10):
        part = marks[tenth * size : (tenth + 1) * size + 1]
        seconds = part[-1][0] - part[0][0]
        tenths.append(round(sum(count for _, count in part[1:]) / seconds) if seconds else 0)
    ratio = statistics.median(tenths[-3:]) / statistics.median(tenths[:3])
    return {"tenths": tenths, "end_over_start": round(ratio, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--documents", type=int, default=10**7)
    parser.add_argument("--batch-docs", type=int, default=4096)
    parser.add_argument("--transport", default="value", choices=["value", "reference"])
    parser.add_argument("--feed-only", action="store_true")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    corpus, out = given.out / f"corpus-{given.documents}.jsonl", given.out / "dataset"
    if not corpus.exists():
        write_corpus(corpus, given.documents)
    model = made_model(given.out / "model")
    shutil.rmtree(out, ignore_errors=True)
    environment = os.environ | {
        "PENSTOCK_INCLUDE": "chaos.noop_model",
        "PYTHONPATH": f"{ROOT / 'tests'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "NOOP_MICRO_BATCH": os.environ.get("NOOP_MICRO_BATCH", "1024"),
        "OMP_NUM_THREADS": "1",
        "PENSTOCK_PROOF_DOCUMENTS": "0",
    }
    arguments = ["--model", model, "--dtype", "float32", "--batch-docs", given.batch_docs, "--json"]
    if given.transport != "value":
        arguments += ["--transport", given.transport]
    if given.feed_only:
        measure_feeder(given.out, [corpus, "--out", out, *arguments], given, environment)
        return
    command = [sys.executable, "-m", "worker", "run", corpus, "--out", out, *arguments, "--devices", "cpu:1"]
    begun = time.monotonic()
    with (given.out / "run.json").open("wb") as stdout, (given.out / "run.log").open("wb") as stderr:
        process = subprocess.Popen([str(word) for word in command], stdout=stdout, stderr=stderr, env=environment)
        watch = Watch(psutil.Process(process.pid), out / "data")
        while process.poll() is None:
            watch.look()
            time.sleep(0.5)
    seconds = time.monotonic() - begun
    if process.returncode:
        sys.exit((given.out / "run.log").read_text() + (given.out / "run.json").read_text())
    summary = json.loads((given.out / "run.json").read_text())
    result = {
        "documents": given.documents,
        "batch_documents": given.batch_docs,
        "transport": given.transport,
        "state": summary["state"],
        "seconds_command": round(seconds, 2),
        "seconds_working": summary["seconds"],
        "documents_per_second_command": round(given.documents / seconds),
        "documents_per_second_working": round(given.documents / max(summary["seconds"], 1e-9)),
        "redis_peak_bytes": summary["redis_peak_bytes"],
        **rates(out),
        "cpu_us_per_document_tenths": watch.cpu_tenths(given.documents),
        "processes": watch.summary(),
    }
    print(json.dumps(result, indent=1))


def measure_feeder(folder: Path, job: list[Any], given: argparse.Namespace, environment: dict[str, str]) -> None:
    """`penstock submit` into a Redis that nobody reads from, until everything is planned and published."""
    from worker.broker import EmbeddedRedis

    with EmbeddedRedis(8 * 2**30) as server:
        command = [sys.executable, "-m", "worker", "submit", *job]
        large = {"PENSTOCK_BROKER_URL": server.url, "PENSTOCK_WINDOW": str(10**6), "PENSTOCK_WINDOW_BYTES": str(2**33)}
        begun, before = time.monotonic(), sum(os.times()[2:4])
        subprocess.run([str(word) for word in command], check=True, env=environment | large, stdout=subprocess.DEVNULL)
        seconds, cpu = time.monotonic() - begun, sum(os.times()[2:4]) - before
    result = {"documents": given.documents, "batch_documents": given.batch_docs, "transport": given.transport}
    result |= {"seconds_command": round(seconds, 2), "cpu_s": round(cpu, 2)}
    print(json.dumps(result | {"documents_per_second_command": round(given.documents / seconds)}, indent=1))


if __name__ == "__main__":
    main()
