"""The goals of the engine, and whether a run of the benchmark reached them; what was not measured says so."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.engine.match import best, paired_ratio

FLAT = 0.05
H200_TFLOPS = 790
"""What an H200 was measured at in one large product of bfloat16."""
GPU_TEXTS = "128 tokens"


def goals(results: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each figure: what it is, its goal, the value (or None), and the verdict."""
    rows = [
        _row("bf16 engine / bf16 GEMM ceiling, short texts", of_ceiling(results, "bf16", "short"), at_least=0.90),
        _row("bf16 engine / bf16 GEMM ceiling, long texts", of_ceiling(results, "bf16", "long"), at_least=0.85),
        _row("bf16 engine / best bf16 or fp32 peer, short texts", over_peer(results, "bf16", "short"), at_least=1.15),
        _row("bf16 engine / best bf16 or fp32 peer, mix", over_peer(results, "bf16", "mix"), at_least=1.3),
        _row("int8 engine / int8 GEMM ceiling, short texts", of_ceiling(results, "int8", "short"), at_least=0.65),
        _row("int8 engine / best int8 peer, short texts", over_peer(results, "int8", "short"), at_least=1.5),
        _row(
            "bf16 engine / sentence-transformers default",
            over(results, "penstock bf16", "sentence-transformers fp32", "short"),
            at_least=4,
        ),
        _row(
            "bf16 engine / transformers pipeline default",
            over(results, "penstock bf16", "transformers pipeline", "short"),
            at_least=6,
        ),
        _row(
            "text → Parquet through Redis / bare engine", statistics.median(results["journey"]["ratios"]), at_least=0.97
        ),
        _row(
            "embedding + 3 heads + 2 poolings / embedding alone (time)", _median(results["many_answers"]), at_most=1.1
        ),
        *(
            _row(f"peak memory of a worker child, {dtype} / (1.2 × file as computed + 0.5 GB)", share, at_most=1)
            for dtype, share in memory_shares(results).items()
        ),
        _row("tokenizer / `encode_batch_fast` alone", _median(results["tokenizer"]), at_least=0.9),
        _row("cost per token, 10^4 to 10^6 documents: largest / smallest − 1", unevenness(results), at_most=FLAT),
    ]
    return rows + [_row(f"H200: {figure}", value, at_least=goal) for figure, value, goal in on_h200(results)]


def of_ceiling(results: dict[str, Any], kind: str, corpus: str) -> float | None:
    """Our GFLOP/s in a number format over those of the layer's products alone, round by round; the median."""
    ours, ceilings = f"penstock {kind}", results["ceilings"].get(corpus, [])
    match = results["matches"].get(corpus, {})
    if ours not in match:
        return None
    return paired_ratio(match[ours]["gflops"], [ceiling[kind]["layer"] for ceiling in ceilings])


def over_peer(results: dict[str, Any], kind: str, corpus: str) -> float | None:
    """Our rate over that of the best peer that may be compared: in int8 those in int8, else all others."""
    match, contestants = results["matches"].get(corpus, {}), results["contestants"]
    kinds = ("int8",) if kind == "int8" else ("fp32", "bf16")
    peer = best(match, [name for name, about in contestants.items() if not about["ours"] and about["kind"] in kinds])
    return over(results, f"penstock {kind}", peer, corpus)


def over(results: dict[str, Any], ours: str, theirs: str | None, corpus: str) -> float | None:
    """One contestant's GFLOP/s over another's, round by round; the median."""
    match = results["matches"].get(corpus, {})
    if theirs is None or ours not in match or theirs not in match:
        return None
    return paired_ratio(match[ours]["gflops"], match[theirs]["gflops"])


def memory_shares(results: dict[str, Any]) -> dict[str, float]:
    """The worker child's peak in each number format as a share of what it may have."""
    measured = {results["journey"]["dtype"]: results["journey"]["memory"]}
    measured |= results["memory"]["formats"] if results.get("memory") else {}
    return {
        dtype: found["worker_peak_bytes"] / (1.2 * found["as_computed_bytes"] + 0.5e9)
        for dtype, found in measured.items()
    }


def on_h200(results: dict[str, Any]) -> list[tuple[str, float | None, float]]:
    """What a GPU has to reach, by what benchmarks.gpu has written; nothing where that was another one."""
    found = results.get("gpu") or {}
    there = "H200" in found.get("machine", {}).get("device", "") and found["dtype"] == "bfloat16"
    shapes = found["shapes"] if there else {}

    def of(shape: str, *names: str) -> Any:
        value = shapes.get(shape, {})
        for name in names:
            value = value.get(name, {})
        return value or None

    def over(value: Any, other: Any) -> float | None:
        return value / other if value and other else None

    ids, text = ("ids", GPU_TEXTS), ("roberta-base", "text")
    return [
        (f"roberta-base of {H200_TFLOPS} TFLOP/s", over(of("roberta-base", *ids, "tflops"), H200_TFLOPS), 0.60),
        (f"roberta-large of {H200_TFLOPS} TFLOP/s", over(of("roberta-large", *ids, "tflops"), H200_TFLOPS), 0.68),
        (
            "text → Parquet / engine",
            over(of(*text, "run_documents_per_s"), of(*text, "extractor_documents_per_s")),
            0.92,
        ),
        (
            "engine / best tuned torch peer",
            over(of("roberta-base", *ids, "tokens_per_s"), of("roberta-base", *ids, "peer_tokens_per_s")),
            1.25,
        ),
    ]


def unevenness(results: dict[str, Any]) -> float | None:
    """How much more a token cost at one size of a run than at another; sizes are compared round by round."""
    if not results.get("token_cost"):
        return None
    costs = [[seconds / point["tokens"] for seconds in point["seconds"]] for point in results["token_cost"]["points"]]
    middle = costs[len(costs) // 2]
    ratios = [statistics.median(one / other for one, other in zip(cost, middle, strict=True)) for cost in costs]
    return float(max(ratios) / min(ratios) - 1)


_VERDICTS: dict[bool | None, dict[str, str]] = {
    None: {"shown": "–", "verdict": "not measured"},
    True: {"verdict": "reached"},
    False: {"verdict": "not reached"},
}


def _median(pair: dict[str, Any]) -> float:
    return statistics.median(pair["ratios"])


def _row(
    figure: str, value: float | None, *, at_least: float | None = None, at_most: float | None = None
) -> dict[str, Any]:
    goal = f"≥ {at_least:g}" if at_least is not None else f"≤ {at_most:g}"
    row = {"figure": figure, "goal": goal, "value": value}
    if value is None:
        return row | _VERDICTS[None]
    reached = value >= at_least if at_least is not None else value <= float(at_most or 0)
    return row | {"shown": f"{value:.2f}"} | _VERDICTS[reached]
