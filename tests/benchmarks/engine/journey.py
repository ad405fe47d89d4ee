"""Text to sealed Parquet by `penstock run`, through Redis, against the bare engine on the same documents."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.engine.levels import Level
from benchmarks.engine.match import say
from benchmarks.engine.seat import Seat
from benchmarks.engine.texts import Corpus, load
from benchmarks.engine.tuning import STEP

BATCH = 512
BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}
SIZES = (10**4, 10**5, 10**6)


def through_redis(
    seat: Seat, corpus: Corpus, model: Path, work: Path, level: Level, documents_per_s: float
) -> dict[str, Any]:
    """Both in turn. A run's rate is over the time from its first batch claimed to its last one committed."""
    dtype = seat.entry.arguments[0]
    count = max(4 * STEP, round(documents_per_s * level.journey_s / STEP) * STEP)
    texts = corpus.first(count)
    batch = min(BATCH, count // 4)
    file = write_corpus(work / "journey.jsonl", texts)
    rates: dict[str, list[float]] = {"engine": [], "run": [], "command": []}
    peaks = []
    for number in range(level.journey_rounds):
        rates["engine"].append(count / seat.call("embed", texts, batch).seconds)
        summary = penstock_run(file, work / "journey", model, dtype, batch)
        rates["run"].append(summary["documents_per_second"])
        rates["command"].append(count / summary["seconds_total"])
        peaks += [worker["peak_rss_bytes"] for worker in summary["workers"]]
        say(f"  journey, round {number + 1}: { ({name: round(values[-1], 1) for name, values in rates.items()}) }")
    return {
        "documents": count,
        "batch_documents": batch,
        "dtype": dtype,
        **{f"{name}_documents_per_s": [round(value, 3) for value in values] for name, values in rates.items()},
        "ratios": [round(run / bare, 4) for run, bare in zip(rates["run"], rates["engine"], strict=True)],
        "memory": _memory(model, dtype, max(peaks)) | {"engine_peak_bytes": seat.peak_bytes()},
    }


def token_costs(
    model: Path, work: Path, data: Path | None, sizes: tuple[int, ...] = SIZES, rounds: int = 3
) -> dict[str, Any]:
    """Microseconds per token of runs of more and more documents with a tiny model, by the clock; the sizes in turn.

    Batches have a CPU's default size. Larger ones would make small runs dear: their last one is written alone.
    """
    corpus = load("very_short", data)
    files = {size: write_corpus(work / f"scale-{size}.jsonl", corpus.first(size)) for size in sizes}
    tokens, taken_s = dict[int, int](), {size: list[float]() for size in sizes}
    for number in range(rounds):
        for size in sizes if number % 2 == 0 else sizes[::-1]:
            summary = penstock_run(files[size], work / "scale", model, "float32", BATCH)
            tokens[size] = summary["tokens_used"]
            taken_s[size].append(round(summary["seconds"], 3))
            say(f"  {size:,} documents: {taken_s[size][-1]} s")
    return {
        "points": [
            {
                "documents": size,
                "tokens": tokens[size],
                "seconds": taken_s[size],
                "us_per_token": statistics.median(taken_s[size]) / tokens[size] * 1e6,
            }
            for size in sizes
        ]
    }


def memory(model: Path, work: Path, data: Path | None, documents: int = 480) -> dict[str, Any]:
    """The peak of a worker's child in a whole run in each number format."""
    file, formats = write_corpus(work / "memory.jsonl", load("short", data).first(documents)), {}
    for dtype in BYTES:
        summary = penstock_run(file, work / "memory", model, dtype, documents // 4)
        formats[dtype] = _memory(model, dtype, max(worker["peak_rss_bytes"] for worker in summary["workers"]))
        say(f"  {dtype}: {formats[dtype]}")
    return {"documents": documents, "formats": formats}


def penstock_run(file: Path, out: Path, model: Path, dtype: str, batch: int, devices: str = "cpu") -> dict[str, Any]:
    """The summary of a whole run in a command of its own."""
    shutil.rmtree(out, ignore_errors=True)
    command = [
        *(sys.executable, "-m", "worker", "run", file, "--out", out, "--model", model, "--dtype", dtype),
        *("--batch-docs", batch, "--devices", devices, "--proof", 0, "--json"),
    ]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"penstock run ended with {done.returncode}: {(done.stdout + done.stderr)[-800:]}")
    shutil.rmtree(out)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def write_corpus(path: Path, texts: list[str]) -> Path:
    """JSON Lines with ids."""
    with path.open("w", encoding="utf-8") as file:
        for number, text in enumerate(texts):
            file.write(json.dumps({"id": str(number), "text": text}) + "\n")
    return path


def _memory(model: Path, dtype: str, worker: int) -> dict[str, Any]:
    stored = (model / "model.safetensors").stat().st_size
    return {
        "safetensors_bytes": stored,
        "as_computed_bytes": stored * BYTES[dtype] // 4,
        "worker_peak_bytes": worker,
    }
