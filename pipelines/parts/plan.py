"""The plan: a run's batches in order, in segments of which each names the digest of the one before.

A segment is created if absent, so of two feeders that plan at the same time one wins and the other reads what the
winner wrote. The corpus alone decides what is in it; ``SEALED.json`` says that there is no more to come.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from pipelines.batching import item_text_bytes
from pipelines.documents import CORPUS_START, Batch, Cursor, items_digest
from pipelines.errors import VerificationError
from pipelines.parts.layout import PLAN, PLAN_SEALED, segment_name, segment_of
from pipelines.parts.store import Store

PLAN_VERSION = 1
_CACHED_SEGMENTS = 16


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """One batch: its items are [first, first + count) of the corpus and lie between the two cursors.

    ``input_digest`` is the hex :func:`~pipelines.documents.items_digest` of its items, ``text_bytes`` their UTF-8 size.
    Of a batch that was planned without reading it there is a ``source_digest`` instead
    (:func:`~pipelines.corpus.source_digest.source_digest`), and ``text_bytes`` is the most that it can be.
    """

    batch: int
    first: int
    count: int
    start: Cursor
    end: Cursor
    input_digest: str
    text_bytes: int
    source_digest: str = ""


class Chain(NamedTuple):
    """How many segments there are, and the hex SHA-256 of the last one's bytes (empty without one)."""

    segments: int
    digest: str


class Tail(NamedTuple):
    """Where a plan ends: the next batch's number, the cursor it starts at, and what the next segment links to."""

    batch: int
    end: Cursor
    chain: Chain


@dataclass(frozen=True, slots=True)
class Totals:
    """What a sealed plan holds."""

    segments: int
    batches: int
    documents: int
    blank_lines: int


@dataclass(frozen=True, slots=True)
class _Segment:
    number: int
    digest: str
    prev: str
    start: Cursor
    end: Cursor
    entries: tuple[PlanEntry, ...]


_EMPTY = Tail(0, CORPUS_START, Chain(0, ""))


def entry_of(batch: Batch) -> PlanEntry:
    """What the plan keeps of a batch."""
    size, digest = sum(map(item_text_bytes, batch.items)), items_digest(batch.items)
    return PlanEntry(batch.number, batch.first, len(batch.items), batch.start, batch.end, digest, size)


class Plan:
    """The plan of a run. Reading holds one segment at a time, whatever the plan's length."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tail: Tail | None = None
        self._totals: Totals | None = None
        self._cache: OrderedDict[int, _Segment] = OrderedDict()

    def totals(self) -> Totals | None:
        """What the sealed plan holds; None while it may still grow. Raises VerificationError where it is damaged."""
        data = self._store.read_if_present(PLAN_SEALED) if self._totals is None else None
        if data is None:
            return self._totals
        try:
            value = json.loads(data)
            totals = Totals(*(int(value[key]) for key in ("segments", "batches", "documents", "blank_lines")))
            digest = str(value["last_segment_sha256"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise _damaged(self._store, PLAN_SEALED, "it cannot be read") from error
        last = self._tail_of(totals.segments)
        counts = totals.batches, totals.documents
        if (last.batch, last.end.documents) != counts or totals.blank_lines < last.end.blank_lines:
            raise _damaged(self._store, PLAN_SEALED, f"the plan ends with batch {last.batch - 1}, it says otherwise")
        if last.chain.digest != digest:
            raise _damaged(
                self._store, segment_name(totals.segments - 1), "it is not the one that the plan was sealed with"
            )
        self._totals = totals
        return totals

    def tail(self) -> Tail:
        """Where to go on planning. Raises VerificationError for a broken chain."""
        tail = self._tail
        if tail is None:
            tail = self._tail_of(self._count_segments())
        while self._store.exists(segment_name(tail.chain.segments)):
            tail = _after(self._store, tail, self._read(tail.chain.segments))
        self._tail = tail
        return tail

    def append(self, batches: Sequence[Batch | PlanEntry]) -> bool:
        """Add a segment of consecutive batches; False where another feeder was first: read :meth:`tail` again.

        Raises ValueError where the batches don't follow each other.
        """
        entries = [batch if isinstance(batch, PlanEntry) else entry_of(batch) for batch in batches]
        if not entries:
            raise ValueError("a plan segment without batches: this is a bug")
        for left, right in itertools.pairwise(entries):
            if (left.batch + 1, left.first + left.count, left.end) != (right.batch, right.first, right.start):
                raise ValueError(f"batch {right.batch} does not follow batch {left.batch}: this is a bug")
        tail = self.tail()
        first = entries[0]
        if (first.batch, first.start) != (tail.batch, tail.end) or self._store.exists(PLAN_SEALED):
            return False
        data = _dump(tail, entries)
        won = self._store.put_if_absent(segment_name(tail.chain.segments), data)
        if won:
            last = entries[-1]
            self._tail = Tail(
                last.batch + 1, last.end, Chain(tail.chain.segments + 1, hashlib.sha256(data).hexdigest())
            )
        return won

    def seal(self, end: Cursor) -> Totals:
        """Say that the corpus ends here; done twice, the first counts. Raises VerificationError if the two differ."""
        tail = self.tail()
        if end.documents != tail.end.documents:
            message = f"the corpus ends after {end.documents} documents, the plan after {tail.end.documents}"
            raise ValueError(f"{message}: this is a bug")
        totals = Totals(tail.chain.segments, tail.batch, end.documents, end.blank_lines)
        value = {"version": PLAN_VERSION, **asdict(totals), "last_segment_sha256": tail.chain.digest}
        self._store.put_if_absent(PLAN_SEALED, (json.dumps(value, indent=1) + "\n").encode())
        sealed = self.totals()
        if sealed != totals:
            raise _damaged(self._store, PLAN_SEALED, f"it says {sealed}, this corpus gives {totals}")
        return totals

    def entries(self) -> Iterator[PlanEntry]:
        """All entries in order, the chain checked on the way. Raises VerificationError naming the damaged file."""
        totals = self.totals()
        tail = _EMPTY
        while self._store.exists(segment_name(tail.chain.segments)):
            segment = self._read(tail.chain.segments)
            tail = _after(self._store, tail, segment)
            yield from segment.entries
        found = (tail.chain.segments, tail.batch, tail.end.documents)
        if totals is not None and found != (totals.segments, totals.batches, totals.documents):
            wanted = f"{totals.batches} batches in {totals.segments} segments"
            detail = f"{tail.batch} batches in {tail.chain.segments} segments were found, {wanted} are sealed"
            raise _damaged(self._store, segment_name(min(tail.chain.segments, totals.segments)), detail)

    def entry(self, batch: int) -> PlanEntry:
        """One batch's entry, by binary search over the segments. Raises KeyError where the plan has no such batch."""
        low, high = 0, self.tail().chain.segments - 1
        while low <= high:
            middle = (low + high) // 2
            segment = self._cached(middle)
            first = segment.entries[0].batch
            if batch < first:
                high = middle - 1
            elif batch >= first + len(segment.entries):
                low = middle + 1
            else:
                return segment.entries[batch - first]
        raise KeyError(batch)

    def _count_segments(self) -> int:
        count, last = 0, -1
        for name in self._store.scan(PLAN):
            number = segment_of(name)
            if number is not None:
                count, last = count + 1, max(last, number)
        if last + 1 != count:
            missing = next(number for number in range(last) if not self._store.exists(segment_name(number)))
            raise _damaged(self._store, segment_name(missing), "it is missing")
        return count

    def _tail_of(self, segments: int) -> Tail:
        if segments <= 0:
            return _EMPTY
        last = self._read(segments - 1)
        return Tail(last.entries[-1].batch + 1, last.end, Chain(segments, last.digest))

    def _cached(self, number: int) -> _Segment:
        segment = self._cache.pop(number, None) or self._read(number)
        self._cache[number] = segment
        if len(self._cache) > _CACHED_SEGMENTS:
            self._cache.popitem(last=False)
        return segment

    def _read(self, number: int) -> _Segment:
        name = segment_name(number)
        data = self._store.read_if_present(name)
        if data is None:
            raise _damaged(self._store, name, "it is missing")
        try:
            segment = _parse(number, data)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise _damaged(self._store, name, "it cannot be read") from error
        return segment


def _dump(tail: Tail, entries: Sequence[PlanEntry]) -> bytes:
    head = {"version": PLAN_VERSION, "segment": tail.chain.segments, "prev": tail.chain.digest}
    head |= {"start": list(entries[0].start), "end": list(entries[-1].end)}
    lines = [
        {
            "batch": entry.batch,
            "first": entry.first,
            "count": entry.count,
            "start": list(entry.start),
            "input_digest": entry.input_digest,
            "text_bytes": entry.text_bytes,
            **({"source_digest": entry.source_digest} if entry.source_digest else {}),
        }
        for entry in entries
    ]
    body = ",\n".join(json.dumps(line) for line in lines)
    return f'{json.dumps(head)[:-1]}, "batches": [\n{body}\n]}}\n'.encode()


def _parse(number: int, data: bytes) -> _Segment:
    value: dict[str, Any] = json.loads(data)
    if value["version"] != PLAN_VERSION or value["segment"] != number:
        raise ValueError("another version or segment")
    start, end = Cursor(*map(int, value["start"])), Cursor(*map(int, value["end"]))
    lines = value["batches"]
    starts = [Cursor(*map(int, line["start"])) for line in lines]
    entries = tuple(
        PlanEntry(
            int(line["batch"]),
            int(line["first"]),
            int(line["count"]),
            begin,
            stop,
            str(line["input_digest"]),
            int(line["text_bytes"]),
            str(line.get("source_digest", "")),
        )
        for line, begin, stop in zip(lines, starts, [*starts[1:], end], strict=True)
    )
    if not entries or starts[0] != start:
        raise ValueError("cursors do not fit")
    return _Segment(number, hashlib.sha256(data).hexdigest(), str(value["prev"]), start, end, entries)


def _after(store: Store, tail: Tail, segment: _Segment) -> Tail:
    """The tail after one more segment, which must follow what was before."""
    name = segment_name(segment.number)
    if segment.prev != tail.chain.digest:
        there = f"{segment.prev[:12]!r}, not {tail.chain.digest[:12]!r}"
        raise _damaged(store, name, f"it follows a segment with the digest {there}")
    if segment.start != tail.end:
        there = f"it starts at {tuple(segment.start)}"
        raise _damaged(store, name, f"{there}, the segment before ends at {tuple(tail.end)}")
    batch, place = tail.batch, tail.end.documents
    for entry in segment.entries:
        fewest = 1 if entry.batch else 0  # a corpus without documents is batch 0 without items
        if (entry.batch, entry.first, entry.start.documents) != (batch, place, place) or entry.count < fewest:
            raise _damaged(store, name, f"batch {entry.batch} at document {entry.first} does not follow")
        batch, place = batch + 1, place + entry.count
    if segment.end.documents != place:
        raise _damaged(store, name, f"it ends at document {segment.end.documents}, its batches at {place}")
    return Tail(batch, segment.end, Chain(tail.chain.segments + 1, segment.digest))


def _damaged(store: Store, name: str, what: str) -> VerificationError:
    hint = "The plan is damaged: restore the file from a copy, or run again into another folder."
    return VerificationError(f"{store.root / name}: {what}.", hint)
