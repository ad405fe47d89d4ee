"""How a contestant works in a match: its batch size, its streams, and on how many documents; what was fastest.

Each way costs a pass on few documents, so not all are tried: one stream against several first, then batch sizes with
whichever is faster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.engine.seat import Answer, Seat
from benchmarks.engine.texts import Corpus

STEP = 32
PROBE_SHARE = 0.1
"""A calibrating pass takes about this share of a measured one."""
NEAR, FURTHER = 0.8, 16
"""A calibrating pass may be so much shorter, as documents differ; so many times more documents are tried next."""


@dataclass(frozen=True, slots=True)
class Way:
    """Documents in a batch, and batches side by side: one stream has all threads, of several each has one."""

    batch: int
    streams: int = 1

    @property
    def arguments(self) -> tuple[int, ...]:
        """What ``embed`` gets after the texts: only contestants that have streams know the word."""
        return (self.batch,) if self.streams == 1 else (self.batch, self.streams)


@dataclass(frozen=True, slots=True)
class Part:
    """What a contestant does in each pass of a match."""

    way: Way
    documents: int


def calibrate(seat: Seat, corpus: Corpus, pass_s: float) -> Part:
    """The fastest way, and how many documents take about ``pass_s`` seconds; the contestant is left warm in it."""
    now = Way(seat.entry.batches[0])
    count, speed = _probe(seat, corpus, now, PROBE_SHARE * pass_s)
    known = {} if seat.entry.cold else {now: speed}

    def rate(way: Way) -> float:
        nonlocal now
        if way in known:
            return known[way]
        if seat.entry.cold or way.streams != now.streams:
            embed(seat, corpus, count, way)  # shapes that it has not seen, or a model to open: they do not count
        now = way
        return count / embed(seat, corpus, count, way).seconds

    way, speed = fastest(rate, seat.entry.batches, seat.streams, count)
    if way.streams != now.streams:
        embed(seat, corpus, STEP, way)
    return Part(way, max(STEP, round(speed * pass_s / STEP) * STEP))


def fastest(
    rate: Callable[[Way], float], batches: Sequence[int], streams: Sequence[int], documents: int
) -> tuple[Way, float]:
    """The way of the highest ``rate`` of those that are tried on so many documents, and this rate.

    One stream and several are compared with the first of ``batches``, or with a smaller one if the documents are not
    two batches for each stream: it would wait for another one. Then larger batches are tried as long as they are
    faster; where already the first of them is not, smaller ones.
    """
    found: dict[Way, float] = {}

    def wins(way: Way) -> bool:
        found[way] = rate(way)
        return found[way] == max(found.values())

    sizes, room = sorted(batches), documents // (2 * max(streams, default=1))
    start = batches[0]
    if streams:
        start = max((size for size in sizes if size <= min(start, room)), default=sizes[0])
    for count in (1, *streams):
        wins(Way(start, count))
    first = max(found, key=found.__getitem__)
    if first.streams == 1 and start != batches[0]:  # it was smaller for the streams' sake alone
        first = Way(batches[0])
        wins(first)
    for size in (size for size in sizes if size > first.batch):
        if not wins(Way(size, first.streams)):
            break
    if found[first] == max(found.values()):
        for size in (size for size in reversed(sizes) if size < first.batch):
            way = Way(size, first.streams)
            if way not in found and not wins(way):
                break
    best = max(found, key=found.__getitem__)
    return best, found[best]


def _probe(seat: Seat, corpus: Corpus, way: Way, seconds: float) -> tuple[int, float]:
    """How many documents take about so long, enough for all streams, and how many there are in a second."""
    count = STEP * max(1, max(seat.streams, default=1) // 2)
    embed(seat, corpus, count, way)
    while (taken := embed(seat, corpus, count, way).seconds) < NEAR * seconds:
        count = max(count + STEP, round(min(seconds / taken, FURTHER) * count / STEP) * STEP)
    return count, count / taken


def embed(seat: Seat, corpus: Corpus, documents: int, way: Way) -> Answer:
    """A pass of a contestant over the first documents."""
    return seat.call("embed", corpus.first(documents), *way.arguments)
