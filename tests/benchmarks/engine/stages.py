"""What one run of the benchmark measures, part by part. Each part gives values for the results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.engine import journey, lineup
from benchmarks.engine.levels import Level
from benchmarks.engine.lineup import Entry
from benchmarks.engine.match import alternate, best, say, with_rates
from benchmarks.engine.models import Shape
from benchmarks.engine.seat import AbsentError, Seat
from benchmarks.engine.texts import Corpus
from benchmarks.engine.tuning import Way, calibrate

LARGE_SAMPLE = 4
"""The larger shape's vectors are compared on so many times fewer documents."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What every part needs. ``folders`` are encoder and classifier by the shape's name."""

    level: Level
    threads: int
    work: Path
    folders: dict[str, tuple[Path, Path]]
    corpora: dict[str, Corpus]

    def seat(self, entry: Entry) -> Seat:
        """A contestant's process, begun."""
        return Seat(entry, self.threads, self.work / "logs")

    @property
    def first(self) -> Corpus:
        """The corpus that everyone computes."""
        return self.corpora[self.level.corpora[0]]


def engine_against_peers(stage: Stage) -> dict[str, Any]:
    """The match on each corpus, with the ceiling measured in each round; outputs compared; who could not take part."""
    level, shape = stage.level, stage.level.shape
    peers = lineup.peers()
    if level.installed_peers_only is not None:
        peers = tuple(entry for entry in peers if entry.name in level.installed_peers_only)
    absent = {entry.name: f"not installed: {', '.join(entry.missing)}" for entry in peers if entry.missing}
    entries = [entry for entry in (*lineup.ours(), *peers) if not entry.missing]
    # All at once: they load their libraries while the first of them is asked.
    ceiling, waiting = stage.seat(lineup.CEILING), [stage.seat(entry) for entry in entries]
    seats: list[Seat] = []
    try:
        ceiling.prepare(stage.folders[shape.name][0], stage.work)
        lengths, reference = _reference(stage, shape, stage.level.sample)
        contestants, agreement = {}, {}
        for seat in waiting:
            entry = seat.entry
            try:
                contestants[entry.name], agreement[entry.name] = _enter(stage, seat, shape, reference)
                seats.append(seat)
            except AbsentError as error:
                absent[entry.name] = str(error)
                say(f"  {entry.name} does not take part: {error}")
        matches, ceilings = {}, {}
        for name in level.corpora:
            chosen = seats if not matches else _rest(seats, matches[level.corpora[0]], level.rest_peers)
            matches[name], ceilings[name] = _match(stage, shape, chosen, ceiling, name, lengths[name])
        for seat in seats:
            contestants[seat.entry.name]["peak_bytes"] = seat.peak_bytes()
    finally:
        for seat in [ceiling, *waiting]:
            seat.close()
    return {
        "shape": shape.name,
        "corpora": {name: _described(corpus, lengths[name]) for name, corpus in stage.corpora.items()},
        "contestants": contestants,
        "absent": absent,
        "agreement": {"documents": level.sample, "cosines": agreement},
        "ceilings": ceilings,
        "matches": matches,
    }


def second_shape(stage: Stage, results: dict[str, Any]) -> dict[str, Any]:
    """The larger shape, for the three fastest alone; one of them is a peer."""
    shape = stage.level.large
    if shape is None:
        return {"large": None}
    ranks = sorted(results["matches"][stage.first.name].items(), key=lambda item: -item[1]["median_gflops"])
    names = [name for name, _ in ranks]
    peer = next(name for name in names if not results["contestants"][name]["ours"])
    chosen = names[:3] if peer in names[:3] else [*names[:2], peer]
    entries = [entry for entry in (*lineup.ours(), *lineup.peers()) if entry.name in chosen]
    ceiling, seats = stage.seat(lineup.CEILING), [stage.seat(entry) for entry in entries]
    try:
        model = stage.folders[shape.name][0]
        ceiling.prepare(model, stage.work)
        lengths, reference = _reference(stage, shape, stage.level.sample // LARGE_SAMPLE)
        agreement = {seat.entry.name: _enter(stage, seat, shape, reference)[1] for seat in seats}
        match, ceilings = _match(stage, shape, seats, ceiling, stage.first.name, lengths[stage.first.name])
    finally:
        for seat in [ceiling, *seats]:
            seat.close()
    return {"large": {"shape": shape.name, "match": match, "ceilings": ceilings, "cosines": agreement}}


def many_answers(stage: Stage) -> dict[str, Any]:
    """An embedding, two further poolings and three classifiers in one pass, against the embedding alone."""
    return _pair(stage, (lineup.EMBEDDING, lineup.ANSWERS), stage.folders[stage.level.shape.name][1])


def tokenizer(stage: Stage) -> dict[str, Any]:
    """penstock's tokenizer against the library's fastest call on the same texts; whether the ids are the same."""
    model = stage.folders[stage.level.shape.name][0]
    ids: list[Any] = []
    found = _pair(
        stage,
        (lineup.TOKENIZER, lineup.RAW_TOKENIZER),
        model,
        pass_s=min(5.0, stage.level.pass_s),
        on_ready=lambda seat: ids.append(seat.call("digests", stage.first.first(500)).value),
    )
    return {**found, "same_ids": bool(np.array_equal(*ids))}


def through_redis(stage: Stage, results: dict[str, Any]) -> dict[str, Any]:
    """`penstock run` against the engine alone, and the peak memory of both."""
    entry = next(entry for entry in lineup.ours() if entry.kind == "bf16")
    model, seat = stage.folders[stage.level.shape.name][0], stage.seat(entry)
    try:
        seat.prepare(model, stage.work)
        rate = results["matches"][stage.first.name][entry.name]["median_documents_per_s"]
        return journey.through_redis(seat, stage.first, model, stage.work, stage.level, rate)
    finally:
        seat.close()


def _enter(stage: Stage, seat: Seat, shape: Shape, reference: Any) -> tuple[dict[str, Any], dict[str, float]]:
    """Load a contestant and compare its vectors with the reference, with one stream and with several."""
    entry = seat.entry
    prepared = seat.prepare(stage.folders[shape.name][0], stage.work / "converted" / shape.name)
    sample, ways = _sample(stage, len(reference)), [Way(entry.batches[0], count) for count in (1, *seat.streams)]
    vectors = [seat.call("embed", sample, *way.arguments).value for way in ways]
    say(f"  {entry.name} is ready after {prepared.seconds:.1f} s")
    cosines = np.concatenate([(_unit(found) * _unit(reference)).sum(1) for found in vectors])
    about = {"kind": entry.kind, "ours": entry.ours, "how": entry.how, "prepare_s": round(prepared.seconds, 2)}
    return about, {"min": round(float(cosines.min()), 6), "mean": round(float(cosines.mean()), 6)}


def _reference(stage: Stage, shape: Shape, sample: int) -> tuple[dict[str, list[int]], Any]:
    """The tokens of each document of each corpus, and the vectors of so many documents."""
    seat = stage.seat(lineup.REFERENCE)
    try:
        seat.prepare(stage.folders[shape.name][0], stage.work)
        lengths = {name: seat.call("lengths", list(corpus.texts)).value for name, corpus in stage.corpora.items()}
        return lengths, seat.call("embed", _sample(stage, sample), 1).value
    finally:
        seat.close()


def _match(
    stage: Stage, shape: Shape, seats: Sequence[Seat], ceiling: Seat, name: str, lengths: list[int]
) -> tuple[dict[str, Any], list[Any]]:
    corpus, ceilings = stage.corpora[name], []
    parts = [calibrate(seat, corpus, stage.level.pass_s) for seat in seats]
    found = alternate(
        seats,
        corpus,
        parts,
        stage.level.rounds,
        lambda: ceilings.append(ceiling.call("layer", shape.hidden, shape.inner, stage.level.ceiling_rows).value),
    )
    most = max(part.documents for part in parts)
    return with_rates(found, lengths * (most // len(lengths) + 1), shape), ceilings


def _rest(seats: Sequence[Seat], match: dict[str, Any], counts: tuple[int, int]) -> list[Seat]:
    """Ourselves, and the fastest peers: so many in a floating format, so many in int8."""
    peers = [seat.entry for seat in seats if not seat.entry.ours]
    kept = {seat.entry.name for seat in seats if seat.entry.ours}
    for kinds, count in zip((("fp32", "bf16"), ("int8",)), counts, strict=True):
        names = {entry.name for entry in peers if entry.kind in kinds}
        for _ in range(min(count, len(names))):
            names.discard(fastest := best(match, names) or "")
            kept.add(fastest)
    return [seat for seat in seats if seat.entry.name in kept]


def _pair(
    stage: Stage,
    entries: tuple[Entry, Entry],
    model: Path,
    *,
    pass_s: float | None = None,
    on_ready: Callable[[Seat], None] = lambda _: None,
) -> dict[str, Any]:
    """Two contestants on the same number of documents; ``ratios`` are seconds of the second by those of the first."""
    seats = [stage.seat(entry) for entry in entries]
    try:
        for seat in seats:
            seat.prepare(model, stage.work)
            on_ready(seat)
        parts = [calibrate(seat, stage.first, (pass_s or stage.level.pass_s) / 2) for seat in seats]
        part = max(parts, key=lambda part: part.documents)
        found = alternate(seats, stage.first, [part, part], max(3, stage.level.rounds))
    finally:
        for seat in seats:
            seat.close()
    first, second = (found[entry.name]["seconds"] for entry in entries)
    return {"documents": part.documents, "seconds": {entry.name: found[entry.name]["seconds"] for entry in entries}} | {
        "ratios": [round(after / before, 4) for before, after in zip(first, second, strict=True)]
    }


def _sample(stage: Stage, count: int) -> list[str]:
    """Documents of all corpora, so many together."""
    corpora = list(stage.corpora.values())
    return [corpora[number % len(corpora)].texts[number // len(corpora)] for number in range(count)]


def _described(corpus: Corpus, lengths: list[int]) -> dict[str, Any]:
    mean = sum(lengths) / len(lengths)
    return {
        "source": corpus.source,
        "documents": len(lengths),
        "mean_tokens": round(mean, 1),
        "most_tokens": max(lengths),
    }


def _unit(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
