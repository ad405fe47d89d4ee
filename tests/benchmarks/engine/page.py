"""docs/benchmarks.md: what the stored results say, on which machine, and what was not measured."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.engine.journey import SIZES
from benchmarks.engine.texts import NAMES
from benchmarks.gpu_table import table

BUSY = 0.25
"""Processes per core that ran before the benchmark did; above it the page warns."""

HEAD = """# Benchmarks

Written by `make bench` from `benchmarks.json`, which holds every single pass. Ratios of one run count: rates alone say
as much of the machine as of the program."""

METHOD = """Each contestant has a process of its own with as many threads as there are cores, and computes only when it
is asked; they take turns, another one first in each round. What is timed is text to mean-pooled vectors: tokenising and
pooling are in it. How many documents a contestant gets is found out before, so that a pass takes about {pass_s:g} s.
Figures are medians over {rounds} rounds; the spread is the fastest pass less the slowest as a share of the median.
Ratios are taken round by round. GFLOP are counted for real tokens (cut at 512): 2 per weight of the linear layers, and
4 · layers · hidden · tokens² for the attention of a document. Weights are random and the same for all. The column
*cores in use* is CPU time by time: where it is less than there are cores, others had them."""


NOTHING_YET = """**No full run is stored yet**: it wants a machine that does nothing else for an hour. `make bench
BENCH_FLAGS=--quick` gives a first look in a few minutes, in `.bench/benchmarks.md`. What a full run measures:

- the matrix products of a layer alone, in fp32, bf16 and int8: the ceiling;
- penstock's engine in fp32, bf16 and int8, transformers' pipeline, sentence-transformers, OpenVINO, ONNX Runtime and
  CTranslate2 on short, very short, long and mixed texts, roberta-base shape; the three fastest on roberta-large shape;
- how far the vectors of each are from those of transformers in fp32;
- `penstock run` through Redis against the engine alone, and the peak memory of its worker;
- an embedding, two further poolings and three classifiers against the embedding alone;
- the tokenizer against the library's fastest call.

What takes longer is added afterwards: `BENCH_FLAGS="--add token_cost"` what a token costs in runs of 10,000 to
1,000,000 documents, `BENCH_FLAGS="--add memory"` a worker's peak memory in each number format.

GPUs are not part of it: `PYTHONPATH=tests python -m benchmarks.gpu --out gpu.json` checks and times one in one call,
and `BENCH_FLAGS="--gpu gpu.json"` adds that."""


SHOWN = {
    "engines": "Bars: GFLOP/s of each contestant on the first corpus, with the ceiling of each number format",
    "corpora": "Bars: GFLOP/s of the fastest contestants on each corpus, side by side",
}
"""What each plot shows, in words."""


def empty_page(pass_s: float, rounds: int) -> str:
    """The page while there are no results."""
    parts = [HEAD, NOTHING_YET, "## How it is measured", METHOD.format(pass_s=pass_s, rounds=rounds)]
    return "\n\n".join(parts) + "\n"


def page(results: dict[str, Any], plots: Sequence[str]) -> str:
    """The whole page."""
    shape, about = results["shape"], results["corpora"]
    sections = [
        HEAD,
        *_warnings(results),
        "## Goals",
        _table(
            ("figure", "goal", "measured", ""),
            [(row["figure"], row["goal"], row["shown"], row["verdict"]) for row in results["goals"]],
        ),
        "## How it was measured",
        METHOD.format(**results),
        _machine(results),
        f"## Engines, {shape} shape",
        *(f"![{SHOWN[name]}](benchmarks-{name}.png)" for name in plots),
    ]
    for name, match in results["matches"].items():
        corpus = about[name]
        tokens = f"{corpus['mean_tokens']:g} tokens on average, at most {corpus['most_tokens']:,}"
        sections += [f"### {name.replace('_', ' ')}: {corpus['source']} ({tokens})"]
        sections += [_match(results, match, results["ceilings"][name])]
    if results["large"]:
        large = results["large"]
        sections += [f"## Engines, {large['shape']} shape, {about[next(iter(about))]['source']}"]
        sections += [_match(results, large["match"], large["ceilings"])]
        least = ", ".join(f"{name} {cosines['min']:.5f}" for name, cosines in large["cosines"].items())
        sections += [f"Least cosine to transformers in fp32: {least}."]
    sections += [
        "## The ceiling",
        "The matrix products of a layer alone, in GFLOP/s: medians over the rounds of the best of several row counts.",
        _ceilings(results),
        "## Who computes the same",
        f"Cosines of the vectors of {results['agreement']['documents']} documents to those of transformers in fp32, "
        "one document at a time.",
        _table(
            ("contestant", "least", "mean"),
            [(name, f"{c['min']:.5f}", f"{c['mean']:.5f}") for name, c in results["agreement"]["cosines"].items()],
        ),
        *_rest(results),
        *(["## On a GPU", table(results["gpu"])] if results.get("gpu") else []),
        "## How each was tuned",
        _table(("contestant", "how"), [(name, about["how"]) for name, about in results["contestants"].items()]),
        "## Not measured",
        *_absent(results),
    ]
    return "\n\n".join(sections) + "\n"


def _warnings(results: dict[str, Any]) -> list[str]:
    before, cores = results["load"]["start"][0], results["machine"]["cores"]
    found = []
    if results["level"] != "full":
        found.append(f"**Preliminary: a {results['level']} run** with short passes and few documents, not a full one.")
    if before > BUSY * cores:
        found.append(
            f"**The machine was busy with other things** (load {before:g} on {cores} cores when it began): these "
            "figures show that the benchmark works, they are not to be relied on."
        )
    return found


def _machine(results: dict[str, Any]) -> str:
    found, ends = results["machine"], results["load"]
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    loads = [" / ".join(f"{value:g}" for value in ends[end]) for end in ("start", "end")]
    return (
        f"{found['cpu']}, {found['cores']} of {found['cores_of_the_machine']} cores used, {', '.join(found['flags'])}; "
        f"{found['memory_bytes'] / 2**30:.0f} GiB of memory; {found['system']}, Python {found['python']}; {versions}. "
        f"Load average {loads[0]} at the start, {loads[1]} at the end. Begun {results['started']}, "
        f"{results['minutes']:g} minutes, {results['data']}."
    )


def _match(results: dict[str, Any], match: dict[str, Any], ceilings: Sequence[Any]) -> str:
    contestants = results["contestants"]
    rows = []
    for name, value in sorted(match.items(), key=lambda item: -item[1]["median_gflops"]):
        kind = contestants[name]["kind"]
        ceiling = statistics.median(found[kind]["layer"] for found in ceilings)
        got = statistics.median(cpu / wall for cpu, wall in zip(value["cpu_s"], value["seconds"], strict=True))
        rows.append(
            (
                f"**{name}**" if contestants[name]["ours"] else name,
                f"{value['median_documents_per_s']:,.1f}",
                f"{value['tokens_per_s']:,.0f}",
                f"{value['median_gflops']:,.1f}",
                f"{value['median_gflops'] / ceiling:.0%}",
                f"{value['spread']:.0%}",
                _taken(value),
                f"{got:.1f}",
            )
        )
    head = ("contestant", "documents/s", "tokens/s", "GFLOP/s", "of its ceiling", "spread", "documents", "cores in use")
    return _table(head, rows)


def _taken(value: dict[str, Any]) -> str:
    """Documents, batch size, and streams where there were several; results of older runs have no word on them."""
    several = f", {streams} streams" if (streams := value.get("streams", 1)) > 1 else ""
    return f"{value['documents']:,} by {value['batch']}{several}"


def _ceilings(results: dict[str, Any]) -> str:
    measured = [(results["shape"], [found for match in results["ceilings"].values() for found in match])]
    if results["large"]:
        measured.append((results["large"]["shape"], results["large"]["ceilings"]))
    names = ("qkv", "out", "inner", "outer", "layer")
    rows = [
        (shape, kind, *(f"{statistics.median(found[kind][name] for found in rounds):,.0f}" for name in names))
        for shape, rounds in measured
        for kind in ("fp32", "bf16", "int8")
    ]
    return _table(("shape", "format", "query, key, value", "attention out", "inner", "outer", "all four"), rows)


def _rest(results: dict[str, Any]) -> list[str]:
    journey, memory = results["journey"], results["journey"]["memory"]
    answers, tokenizer = results["many_answers"], results["tokenizer"]
    found = [
        "## Text to Parquet",
        f"`penstock run` through Redis (batches of {journey['batch_documents']}, {journey['dtype']}) against the "
        f"engine alone on the same {journey['documents']:,} documents, in turn: "
        f"{_series(journey['run_documents_per_s'])} against {_series(journey['engine_documents_per_s'])} documents/s, "
        f"ratio {_series(journey['ratios'], 3)}. A run's rate is over the time from its first batch claimed to its "
        "last one committed; with starting, loading and sealing the command made "
        f"{_series(journey['command_documents_per_s'])}.",
        f"Peak memory of the worker child: {_mb(memory['worker_peak_bytes'])}; of the engine in a process of its own, "
        f"{_mb(memory['engine_peak_bytes'])}. The safetensors file has {_mb(memory['safetensors_bytes'])}; in the "
        f"numbers computed with it would have {_mb(memory['as_computed_bytes'])}.",
        "## Many answers of one pass",
        "Mean embedding, two further poolings and three classifiers, as a multiple of the time of the embedding alone, "
        f"round by round: {_series(answers['ratios'], 3)} ({answers['documents']:,} documents).",
        "## The tokenizer",
        "Texts per second as a multiple of those of `encode_batch_fast` alone on all cores, round by round: "
        f"{_series(tokenizer['ratios'], 3)}; the ids are {'the same' if tokenizer['same_ids'] else 'NOT the same'}.",
    ]
    if results.get("memory"):
        rows = [
            (dtype, _mb(one["as_computed_bytes"]), _mb(one["worker_peak_bytes"]))
            for dtype, one in results["memory"]["formats"].items()
        ]
        found += [
            "## Memory of a worker's child in each number format",
            f"{results['memory']['documents']:,} documents of the first corpus, {results['memory']['shape']} shape; "
            f"{_added(results['memory'])}",
            _table(("format", "the safetensors file as computed", "peak"), rows),
        ]
    if results.get("token_cost"):
        rows = [
            (f"{point['documents']:,}", f"{point['us_per_token']:.3f}", _series(point["seconds"], 2))
            for point in results["token_cost"]["points"]
        ]
        found += [
            f"## What a token costs, {results['token_cost']['shape']} model",
            f"Whole runs through Redis over the very short texts, again and again; {_added(results['token_cost'])}",
            _table(("documents", "microseconds per token", "seconds of each run"), rows),
        ]
    return found


def _added(part: dict[str, Any]) -> str:
    """When and where something was measured that is added to a run."""
    return f"measured by itself, {part['started']}, {part['cpu']}, load average {part['load'][0]:g} before it."


def _absent(results: dict[str, Any]) -> Iterable[str]:
    lines = [f"- {name}: {why}." for name, why in results["absent"].items()]
    lines += [f"- The {name.replace('_', ' ')} texts." for name in NAMES if name not in results["matches"]]
    if results["large"] is None:
        lines.append("- The roberta-large shape.")
    if not results.get("token_cost"):
        lines.append(f"- The cost per token from {SIZES[0]:,} to {SIZES[-1]:,} documents (`--add token_cost`).")
    if not results.get("gpu"):
        lines.append(
            "- GPUs: `PYTHONPATH=tests python -m benchmarks.gpu` is for machines that have one; none was at hand."
        )
    lines += [
        "- Trained weights: cosines of random ones say that the same is computed, not what rounding does to labels: "
        "that is in [int8.md](int8.md).",
        "- transformers with torch.compile; sentence-transformers' own ONNX and OpenVINO backends.",
    ]
    yield "\n".join(lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)] if len(head) > 2 else ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _series(values: Sequence[float], digits: int = 1) -> str:
    return ", ".join(f"{value:,.{digits}f}" for value in values)


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
