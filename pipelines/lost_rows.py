"""Rows that a Parquet file's footer promised when a batch was planned, and that cannot be read.

Who plans by reading stops counting at the damage. Who plans by the footer has counted the rows behind it: each becomes
a reject, and what comes after them keeps its place.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.corpus import CorpusReader
from pipelines.corpus.evidence import made_id
from pipelines.corpus.page_bounds import planned_rows
from pipelines.corpus.scan import UnscannableError
from pipelines.documents import Cursor, Document, Reason, Reject
from pipelines.parts.plan import PlanEntry
from pipelines.spec import CorpusSpec, Format


def with_lost_rows(
    spec: CorpusSpec, entry: PlanEntry, reader: CorpusReader, items: Iterator[Document | Reject]
) -> Iterator[tuple[Document | Reject, Cursor]]:
    """The items of a reader that stands at a batch, each with the place after it, and rejects for its lost rows."""
    before = reader.cursor
    for item in items:
        after = reader.cursor
        if entry.source_digest and after.shard > before.shard and _is_damage(item):
            yield from _lost(spec, entry, item, before, after.shard - 1)
        else:
            yield item, after
        before = after


def _is_damage(item: Document | Reject) -> bool:
    return isinstance(item, Reject) and item.reason is Reason.DAMAGED_FILE


def _lost(
    spec: CorpusSpec, entry: PlanEntry, item: Document | Reject, before: Cursor, number: int
) -> Iterator[tuple[Reject, Cursor]]:
    """A reject for each row of a file from the place of the damage on, as far as the batch has them."""
    assert isinstance(item, Reject)
    shard = spec.shards[number]
    if shard.format is not Format.PARQUET:
        return  # lines were looked at to their end: they have changed since
    try:
        stop = entry.end.offset if number == entry.end.shard else planned_rows(shard.uri)
    except UnscannableError:
        return  # the footer was good when it was planned
    first = before.offset if number == before.shard else 0
    for row in range(first, stop):
        origin = item.origin._replace(offset=row)
        place = Cursor(number, row + 1, 0, before.documents + 1 + row - first, before.blank_lines)
        yield item._replace(id=made_id(shard, row), origin=origin), place
