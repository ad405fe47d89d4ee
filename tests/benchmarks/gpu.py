"""All that a GPU has to show, in one call and one table: checks, limits, the engine, a peer, text to Parquet.

    PYTHONPATH=tests python -m benchmarks.gpu [--device cuda] [--dtype bfloat16] [--shapes roberta-base,roberta-large]
        [--seconds 5] [--work DIR] [--out FILE]

Weights are random, texts made up. Rates are medians over passes that together take so many seconds. GFLOP are counted
for real tokens: 2 per weight of the linear layers, 4 · layers · hidden · tokens² for the attention of a document. The
limit is one large product in the same number format; *layer* are the four products of a layer by themselves. What
cannot be measured, because a package or a Redis server is missing, is a line that says so. `--device cpu --shapes tiny
--seconds 0.2` tries this file out where there is no GPU.
"""

from __future__ import annotations

import argparse
import json
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
from transformers import AutoModel

from pipelines.corpus import CorpusOptions
from pipelines.documents import Batch, Document, Origin
from pipelines.extract import Extractor
from pipelines.opening import Request, make_spec
from pipelines.roberta.encoder import Encoder
from pipelines.spec import Dtype, Pooling

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
    results["checks"] = checks()
    results["limit_tflops"] = large_product(device, given.dtype, given.seconds)
    with tempfile.TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        for name in given.shapes.split(","):
            model, _ = make_models(SHAPES[name], work / "models", None)
            results["shapes"][name] = of_shape(SHAPES[name], model, work, device, given.dtype, given.seconds)
    if given.out is not None:
        given.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(table(results))


def checks() -> str:
    """How the tests of the GPU ended."""
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", str(GPU_TESTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout.strip().splitlines() or ["pytest said nothing"])[-1]


def of_shape(shape: Shape, model: Path, work: Path, device: torch.device, dtype: str, seconds: float) -> dict[str, Any]:
    """One encoder: its layer's products, forward passes of ready ids, the extractor, a peer, and a whole run."""
    extractor = made_extractor(model, device, dtype)
    encoder, budget = extractor._forwards[0].encoder, extractor._budgets[0].tokens
    found: dict[str, Any] = {"budget": budget, "layer_tflops": layer(shape, device, dtype, seconds), "ids": {}}
    peer = AutoModel.from_pretrained(model, dtype=getattr(torch, dtype), add_pooling_layer=False).to(device).eval()
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
            size: timed(lambda: padded(peer, rows, size, device), device, seconds / 3)  # noqa: B023 (called at once)
            for size in PEER_BATCHES
        }
        best = min(theirs, key=lambda size: theirs[size])
        found["ids"][name] = {
            "tokens_per_s": tokens / ours,
            "tflops": flops / ours / 1e12,
            "transformers_tokens_per_s": tokens / theirs[best],
            "transformers_batch": best,
        }
    found["text"] = of_text(extractor, work, model, device, dtype, seconds)
    return found


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
        summary, _ = penstock_run(
            write_corpus(work / "gpu.jsonl", texts),
            work / "gpu",
            model,
            dtype,
            max(64, count // 4),
            devices="cuda:0" if device.type == "cuda" else "cpu",
        )
        found["run_documents_per_s"] = summary["documents_per_second"]
    except (RuntimeError, OSError) as error:
        found["run_not_measured"] = " ".join(str(error).split())[-200:]
    return found


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
        peer(torch.from_numpy(ids).to(device), attention_mask=torch.from_numpy(mask).to(device))


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


def table(results: dict[str, Any]) -> str:
    """What was measured, for a page."""
    versions = results["machine"]["versions"]
    lines = [
        f"{results['machine']['device']}, torch {versions['torch']}, transformers {versions['transformers']}, "
        f"{results['dtype']}; a large product reaches {results['limit_tflops']:.1f} TFLOP/s. "
        f"Checks: {results['checks']}",
        "",
        "| shape | documents | tokens/s | TFLOP/s | of the large product | of the layer's | over transformers |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, shape in results["shapes"].items():
        for kind, found in shape["ids"].items():
            lines.append(
                f"| {name} | {kind} | {found['tokens_per_s']:,.0f} | {found['tflops']:.1f} | "
                f"{found['tflops'] / results['limit_tflops']:.2f} | {found['tflops'] / shape['layer_tflops']:.2f} | "
                f"{found['tokens_per_s'] / found['transformers_tokens_per_s']:.2f} "
                f"(batches of {found['transformers_batch']}) |"
            )
    lines += ["", "| shape | text → Arrow, documents/s | text → Parquet | ratio |", "|---|---|---|---|"]
    for name, shape in results["shapes"].items():
        text = shape["text"]
        there = text.get("run_documents_per_s")
        ratio = f"{there:,.1f} | {there / text['extractor_documents_per_s']:.2f}" if there else "not measured | –"
        lines.append(f"| {name} | {text['extractor_documents_per_s']:,.1f} | {ratio} |")
    return "\n".join(lines)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
