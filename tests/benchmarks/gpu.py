"""All that a GPU has to show, in one call and one table: checks, limits, the engine, a peer, text to Parquet.

    PYTHONPATH=tests python -m benchmarks.gpu [--device cuda] [--dtype bfloat16] [--shapes roberta-base,roberta-large]
        [--seconds 5] [--work DIR] [--out FILE]

Weights are random, texts made up. Rates are medians over passes that together take so many seconds. GFLOP are counted
for real tokens: 2 per weight of the linear layers, 4 · layers · hidden · tokens² for the attention of a document. The
limit is one large product in the same number format; *layer* are the four products of a layer by themselves,
*attention* is that of one layer. The peer is transformers on sorted, padded batches of several sizes, as it is and
compiled (torch.compile), whichever is fastest. What cannot be measured, because a package or a Redis server is missing,
is a line that says so; checks that fail make the exit status 1. The checks want the packages of the extra ``dev``.
`--device cpu --shapes tiny --seconds 0.2` tries this file out where there is no GPU. `make bench BENCH_FLAGS="--gpu
FILE"` puts what --out wrote into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from benchmarks.engine.journey import penstock_run, write_corpus
from benchmarks.engine.machine import machine
from benchmarks.engine.models import SHAPES, Shape, make_models
from benchmarks.engine.texts import synthetic
from benchmarks.gpu_table import table
from transformers import AutoModel

from pipelines.corpus import CorpusOptions
from pipelines.documents import Batch, Document, Origin
from pipelines.extract import Extractor
from pipelines.opening import Request, make_spec
from pipelines.roberta.attention import packed_attention
from pipelines.roberta.encoder import Encoder
from pipelines.roberta.packing import on_device, pack
from pipelines.spec import Dtype, Pooling
from worker.gpu import visible_gpus

Rows = list[npt.NDArray[np.int32]]
GPU_TESTS = Path(__file__).resolve().parents[1] / "gpu"
LENGTHS: dict[str, Callable[[np.random.Generator], int]] = {
    "128 tokens": lambda _: 128,
    "512 tokens": lambda _: 512,
    "24 to 104 tokens": lambda random: int(random.integers(24, 105)),
}
PEER_BATCHES = (32, 128, 512)
ROWS = {"cpu": (512, 2048), "cuda": (8448, 16896, 33792)}
LARGE_PRODUCT = {"cpu": 1024, "cuda": 8192}


def main() -> None:
    """The command line of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--shapes", default="roberta-base,roberta-large")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    device = torch.device(given.device)
    results: dict[str, Any] = {"machine": machine() | {"device": _name(device)}, "dtype": given.dtype, "shapes": {}}
    results["checks"], passed = checks()
    results["limit_tflops"] = large_product(device, given.dtype, given.seconds)
    with tempfile.TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        for name in given.shapes.split(","):
            model, _ = make_models(SHAPES[name], work / "models", None)
            results["shapes"][name] = of_shape(SHAPES[name], model, work, device, given.dtype, given.seconds)
    if given.out is not None:
        given.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(table(results))
    sys.exit(0 if passed else 1)


def checks() -> tuple[str, bool]:
    """How the tests of the GPU ended, and whether that is well; what failed is printed at once."""
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", str(GPU_TESTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout[-8000:], done.stderr[-2000:], sep="\n", file=sys.stderr)
    said = (done.stdout.strip() or done.stderr.strip() or f"pytest ended with {done.returncode}").splitlines()
    return said[-1].strip("= "), done.returncode == 0


def of_shape(shape: Shape, model: Path, work: Path, device: torch.device, dtype: str, seconds: float) -> dict[str, Any]:
    """One encoder: its layer's products, forward passes of ready ids, the extractor, a peer, and a whole run."""
    extractor = made_extractor(model, device, dtype)
    encoder, budget = extractor._forwards[0].encoder, extractor._budgets[0].tokens
    found: dict[str, Any] = {"budget": budget, "layer_tflops": layer(shape, device, dtype, seconds), "ids": {}}
    peers, found["compiled"] = made_peers(model, device, dtype)
    for name, length in LENGTHS.items():
        random = np.random.default_rng(0)
        rows: Rows = [
            random.integers(4, encoder.config.vocab_size, length(random), dtype=np.int32)
            for _ in range(4 * budget // 64)
        ]
        rows.sort(key=len, reverse=True)
        groups = by_budget(rows, budget)
        flops, tokens = shape.flops([len(row) for row in rows]), sum(map(len, rows))
        ours = timed(lambda: forward(encoder, groups), device, seconds)  # noqa: B023 (called at once)
        theirs = {
            (kind, size): attempt(lambda: padded(peer, rows, size, device), device, seconds / 3)  # noqa: B023 (at once)
            for kind, peer in peers.items()
            for size in PEER_BATCHES
        }
        best = min(theirs, key=lambda way: theirs[way])
        lengths = [length(random) for _ in range(budget // 64)]
        found["ids"][name] = {
            "tokens_per_s": tokens / ours,
            "tflops": flops / ours / 1e12,
            "attention_tflops": attention(shape, lengths, device, dtype, seconds / 5),
            "peer_tokens_per_s": tokens / theirs[best],
            "peer": f"{best[0]}, batches of {best[1]}",
            "peers": {f"{kind}, {size}": tokens / taken for (kind, size), taken in theirs.items()},
        }
    found["text"] = of_text(extractor, work, model, device, dtype, seconds)
    return found


def made_peers(model: Path, device: torch.device, dtype: str) -> tuple[dict[str, torch.nn.Module], str]:
    """transformers' encoder as it is and compiled, and why it could not be compiled, if it could not."""
    plain = AutoModel.from_pretrained(model, dtype=getattr(torch, dtype), add_pooling_layer=False).to(device).eval()
    if device.type != "cuda":
        return {"transformers": plain}, "torch.compile is tried on CUDA only"
    compiled = torch.compile(plain, dynamic=True)
    try:
        padded(compiled, [np.full(9, 7, np.int32)] * 3, 2, device)
    except Exception as error:  # its backends raise what they like
        return {"transformers": plain}, f"torch.compile failed: {' '.join(str(error).split())[:200]}"
    return {"transformers": plain, "transformers compiled": compiled}, "yes"


def attempt(call: Callable[[], object], device: torch.device, seconds: float) -> float:
    """As :func:`timed`; without end for a peer that fails, of which the reason is printed."""
    try:
        return timed(call, device, seconds)
    except Exception as error:  # of torch.compile's backends, or too little memory
        print(f"A peer failed: {' '.join(str(error).split())[:300]}", file=sys.stderr)
        return math.inf


def attention(shape: Shape, lengths: Sequence[int], device: torch.device, dtype: str, seconds: float) -> float:
    """TFLOP/s of one layer's attention alone, on packed documents."""
    _, packing = pack([np.zeros(length, np.int32) for length in sorted(lengths, reverse=True)], device)
    made = torch.randn(packing.rows, 3, shape.heads, shape.hidden // shape.heads, device=device)
    query, key, value = made.to(getattr(torch, dtype)).unbind(1)
    flops = 4 * shape.hidden * sum(length**2 for length in lengths)
    return flops / timed(lambda: packed_attention(query, key, value, packing), device, seconds) / 1e12


def of_text(
    extractor: Extractor, work: Path, model: Path, device: torch.device, dtype: str, seconds: float
) -> dict[str, Any]:
    """Text to Arrow by the extractor, and text to sealed Parquet by a run, in documents per second."""
    texts = synthetic("short", 512)
    count = max(512, int(512 / timed(lambda: extracted(extractor, texts), device, seconds) * seconds) // 512 * 512)
    texts = synthetic("short", count)
    found: dict[str, Any] = {
        "documents": count,
        "extractor_documents_per_s": count / timed(lambda: extracted(extractor, texts), device, seconds),
    }
    try:
        devices = run_devices(device)
        summary = penstock_run(
            write_corpus(work / "gpu.jsonl", texts),
            work / "gpu",
            model,
            dtype,
            max(64, count // 4),
            devices=devices,
        )
        found["run_documents_per_s"] = summary["documents_per_second"]
    except (RuntimeError, OSError, IndexError) as error:
        found["run_not_measured"] = " ".join(str(error).split())[-200:]
    return found


def run_devices(device: torch.device) -> str:
    """What `penstock run --devices` calls it."""
    return visible_gpus()[device.index or 0].uuid if device.type == "cuda" else "cpu"


def made_extractor(model: Path, device: torch.device, dtype: str) -> Extractor:
    """As a run has it, for a mean embedding."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = write_corpus(Path(folder) / "corpus.jsonl", ["a"])
        request = Request((str(corpus),), CorpusOptions(), str(model), Dtype(dtype), 512, embed=(Pooling.MEAN,))
        return Extractor(make_spec(request), device=device.type)


def extracted(extractor: Extractor, texts: Sequence[str]) -> int:
    """One batch of documents: tokenised, computed, put together."""
    documents = [Document(str(n), text, None, Origin("made-up", n, 0)) for n, text in enumerate(texts)]
    return int(extractor.extract(Batch(0, 0, list(documents))).table.num_rows)


def forward(encoder: Encoder, groups: Sequence[Rows]) -> None:
    """Forward passes of all micro-batches, one behind the other."""
    with torch.inference_mode():
        for group in groups:
            encoder.forward(group)


@torch.inference_mode()
def padded(peer: torch.nn.Module, rows: Rows, size: int, device: torch.device) -> None:
    """The same ids by transformers: sorted, filled up, in batches of so many."""
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        ids = np.full((len(part), max(map(len, part))), 1, np.int64)
        mask = np.zeros_like(ids)
        for number, row in enumerate(part):
            ids[number, : len(row)], mask[number, : len(row)] = row, 1
        peer(on_device(ids, device), attention_mask=on_device(mask, device))


def by_budget(rows: Rows, budget: int) -> list[Rows]:
    """Rows in micro-batches of at most so many tokens."""
    groups: list[Rows] = [[]]
    tokens = 0
    for row in rows:
        if tokens + len(row) > budget and groups[-1]:
            groups.append([])
            tokens = 0
        groups[-1].append(row)
        tokens += len(row)
    return groups


def large_product(device: torch.device, dtype: str, seconds: float) -> float:
    """TFLOP/s of one large square product."""
    size = LARGE_PRODUCT[device.type]
    left, right = (torch.randn(size, size, device=device, dtype=getattr(torch, dtype)) for _ in range(2))
    return 2 * size**3 / timed(lambda: left @ right, device, seconds / 5) / 1e12


def layer(shape: Shape, device: torch.device, dtype: str, seconds: float) -> float:
    """TFLOP/s of the four products of a layer by themselves, each at its best number of rows."""
    hidden, inner, numbers = shape.hidden, shape.inner, getattr(torch, dtype)
    spent = work = 0.0
    for left, right in ((hidden, 3 * hidden), (hidden, hidden), (hidden, inner), (inner, hidden)):
        weight, bias = (torch.randn(*sizes, device=device, dtype=numbers) for sizes in ((right, left), (right,)))
        rates = []
        for rows in ROWS[device.type]:
            there = torch.randn(rows, left, device=device, dtype=numbers)
            call = lambda there=there, weight=weight, bias=bias: torch.nn.functional.linear(there, weight, bias)  # noqa: E731 (a def would hide that it is one)
            rates.append(2 * rows * left * right / timed(call, device, seconds / 20))
        work += left * right
        spent += left * right / max(rates)
    return work / spent / 1e12


def timed(call: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Median seconds of a call, over as many as fit; the first ones, which load kernels, do not count."""
    taken: list[float] = []
    for _ in range(2):
        call()
    _wait(device)
    until = time.perf_counter() + seconds
    while len(taken) < 3 or time.perf_counter() < until:
        begun = time.perf_counter()
        call()
        _wait(device)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
