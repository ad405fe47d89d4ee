"""Contestants on the same texts: passes in turn, and what became of them."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks.engine.models import Shape
from benchmarks.engine.seat import Seat
from benchmarks.engine.texts import Corpus
from benchmarks.engine.tuning import Part, embed


def alternate(
    seats: Sequence[Seat],
    corpus: Corpus,
    parts: Sequence[Part],
    rounds: int,
    on_round: Callable[[], None] = lambda: None,
) -> dict[str, dict[str, Any]]:
    """One pass of each contestant after the other, another one first in each round.

    By contestant: batch, streams, documents, seconds and CPU seconds of each pass.
    """
    found: dict[str, dict[str, Any]] = {}
    for seat, part in zip(seats, parts, strict=True):
        about = {"batch": part.way.batch, "streams": part.way.streams, "documents": part.documents}
        found[seat.entry.name] = {**about, "seconds": [], "cpu_s": []}
        if seat.entry.cold:
            embed(seat, corpus, part.documents, part.way)
    order = list(zip(seats, parts, strict=True))
    for number in range(rounds):
        on_round()
        turn = number * len(order) // rounds
        for seat, part in order[turn:] + order[:turn]:
            answer = embed(seat, corpus, part.documents, part.way)
            found[seat.entry.name]["seconds"].append(round(answer.seconds, 4))
            found[seat.entry.name]["cpu_s"].append(round(answer.cpu_s, 4))
            rate = part.documents / answer.seconds
            say(f"  {corpus.name}, round {number + 1}: {seat.entry.name} {rate:,.1f} documents/s")
    return found


def with_rates(found: dict[str, dict[str, Any]], lengths: Sequence[int], shape: Shape) -> dict[str, dict[str, Any]]:
    """The same with documents, tokens and GFLOP per second of each pass, and the medians and the spread of them.

    ``lengths`` are the tokens of the corpus' documents, as many as any contestant had. The spread is the distance of
    the fastest from the slowest pass as a share of the median.
    """
    for value in found.values():
        computed = list(lengths[: value["documents"]])
        value["tokens"] = sum(computed)
        rates = [value["documents"] / seconds for seconds in value["seconds"]]
        value["documents_per_s"] = [round(rate, 3) for rate in rates]
        value["gflops"] = [round(shape.flops(computed) / seconds / 1e9, 3) for seconds in value["seconds"]]
        value["median_documents_per_s"] = statistics.median(value["documents_per_s"])
        value["median_gflops"] = statistics.median(value["gflops"])
        value["tokens_per_s"] = round(value["median_documents_per_s"] * value["tokens"] / value["documents"], 1)
        value["spread"] = round((max(rates) - min(rates)) / statistics.median(rates), 4)
    return found


def paired_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median over the rounds of one contestant's figure divided by another's in the same round."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def best(results: dict[str, Any], names: Iterable[str]) -> str | None:
    """The fastest of those that took part."""
    there = [name for name in names if name in results]
    return max(there, key=lambda name: results[name]["median_gflops"]) if there else None


def say(line: str) -> None:
    """Progress, for whoever waits."""
    print(line, file=sys.stderr, flush=True)
