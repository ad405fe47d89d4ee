"""One part of a finished run, with some documents of its quarantine extracted again. Nothing is written here."""

from __future__ import annotations

import itertools
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import __version__
from pipelines.assembly import Extracted
from pipelines.documents import Batch, Document, Reject, Stage, input_digest
from pipelines.errors import VerificationError
from pipelines.extract import Extractor
from pipelines.parts import quarantine
from pipelines.parts.listing import PartRecord
from pipelines.parts.replay_mark import ReplayMark
from pipelines.parts.replay_trail import ReplayTrail
from pipelines.parts.run_document import RunDocument
from pipelines.parts.sink import Footer, PartMeta
from pipelines.parts.store import Store, storage
from pipelines.planning import Planner


@dataclass(frozen=True, slots=True)
class Reattempted:
    """A part as it is to be. ``tried`` of its documents were extracted again, ``recovered`` of them have a row now."""

    meta: PartMeta
    table: pa.Table
    rejects: list[Reject]
    warnings: list[Reject]
    tried: int
    recovered: int


@dataclass(frozen=True, slots=True)
class Reattempt:
    """What it takes to do a part again: who says what is to be tried, who reads it, who extracts it."""

    store: Store
    document: RunDocument
    mark: ReplayMark
    planner: Planner
    extractor: Extractor
    trail: ReplayTrail

    def part(self, record: PartRecord, footer: Footer) -> Reattempted:
        """A part and its quarantine, in corpus order; rows that are there and rejects that are not tried stay.

        Raises VerificationError where the part is not the one that the manifest lists, CorpusChangedError where its
        documents are not the planned ones, and what the extractor raises.
        """
        table, evidence = self._read(record, footer)
        batch = self.planner.read(self.planner.plan.entry(record.batch))
        before = by_item(batch.items, [reject for reject in evidence if reject.stage is not Stage.WARNING])
        if before is None or not _are_rows(table, batch, before):
            raise self._damaged(record, "its rows and rejects are not the documents of its batch")
        tried = [index for index, reject in enumerate(before) if self._is_tried(reject)]
        items = [batch.items[index] for index in tried]
        with self.trail.taking(record.batch) as on_taking:
            suspicion = self.trail.suspicion(record.batch)
            part = replace(batch, items=items, warnings=[])
            extracted = self.extractor.extract(part, on_taking=on_taking, suspicion=suspicion)
        failed = by_item(items, extracted.rejects)
        assert failed is not None, "the extractor rejected what it was not given; this is a bug"
        again = dict(zip(tried, failed, strict=True))
        after = [_later(reject, again, index) for index, reject in enumerate(before)]
        warnings = [reject for reject in evidence if reject.stage is Stage.WARNING]
        return Reattempted(
            meta=_meta(self.document, self.mark, footer, extracted),
            table=pa.concat_tables(_in_corpus_order(table, extracted.table, before, after)),
            rejects=[reject for reject in after if reject is not None],
            warnings=_sorted(warnings + extracted.warnings, batch),
            tried=len(tried),
            recovered=extracted.table.num_rows,
        )

    def _is_tried(self, reject: Reject | None) -> bool:
        return reject is not None and reject.stage is Stage.EXTRACT and reject.reason in self.mark.reasons

    def _read(self, record: PartRecord, footer: Footer) -> tuple[pa.Table, list[Reject]]:
        """Rows and evidence of a part. Damage must not get a new digest: both are compared with theirs first."""
        if self.store.digest(record.name) != (record.bytes, record.sha256):
            raise self._damaged(record, "its bytes are not those that the manifest lists")
        if self.store.digest(footer.quarantine)[1] != footer.quarantine_sha256:
            raise self._damaged(record, f"{footer.quarantine} was changed")
        path = self.store.path(record.name)
        with storage("read", path), pq.ParquetFile(path) as file:
            table = file.read().replace_schema_metadata(None)
        if not table.schema.equals(self.extractor.schema):
            raise self._damaged(record, "its columns have other types than this version of penstock writes")
        return table, list(quarantine.read(self.store, footer.quarantine))

    def _damaged(self, record: PartRecord, what: str) -> VerificationError:
        return VerificationError(
            f"{self.store.root / record.name}: {what}.", f"`penstock verify {self.store.root}` says what differs."
        )


def by_item(items: Sequence[Document | Reject], rejects: Sequence[Reject]) -> list[Reject | None] | None:
    """For each item its reject, None for those that have none; None altogether where a reject belongs to no item."""
    waiting: defaultdict[tuple[str, int, str], deque[Reject]] = defaultdict(deque)
    for reject in rejects:
        waiting[_address(reject)].append(reject)
    found = [queue.popleft() if (queue := waiting.get(_address(item))) else None for item in items]
    return None if any(waiting.values()) else found


def _address(item: Document | Reject) -> tuple[str, int, str]:
    return quarantine.as_stored(item.origin.uri), item.origin.offset, quarantine.as_stored(item.id)


def _are_rows(table: pa.Table, batch: Batch, rejects: Sequence[Reject | None]) -> bool:
    """Whether a part's rows are the documents of its batch without the rejects."""
    wanted = [item for item, reject in zip(batch.items, rejects, strict=True) if reject is None]
    documents = [item for item in wanted if isinstance(item, Document)]
    return (
        len(documents) == len(wanted)
        and table.column("id").to_pylist() == [document.id for document in documents]
        and table.column("input_digest").to_pylist()
        == [input_digest(document.text, document.pair) for document in documents]
    )


def _later(before: Reject | None, again: Mapping[int, Reject | None], index: int) -> Reject | None:
    """What a reject is now: as before where it was not tried; with one more attempt where that failed, too."""
    if before is None or index not in again:
        return before
    reject = again[index]
    return None if reject is None else reject._replace(attempts=before.attempts + max(1, reject.attempts))


def _in_corpus_order(
    there: pa.Table, new: pa.Table, before: Sequence[Reject | None], after: Sequence[Reject | None]
) -> Iterator[pa.Table]:
    """The rows that are there and the new ones, as slices of both: not a byte of a vector is touched."""
    yield there.slice(0, 0)
    taken = {True: 0, False: 0}
    rows = (reject is None for reject, now in zip(before, after, strict=True) if now is None)
    for was_there, run in itertools.groupby(rows):
        count = sum(1 for _ in run)
        yield (there if was_there else new).slice(taken[was_there], count)
        taken[was_there] += count


def _sorted(warnings: list[Reject], batch: Batch) -> list[Reject]:
    """Warnings in corpus order; those of one document stay as they are."""
    places = {_address(item)[:2]: place for place, item in enumerate(batch.items)}
    return sorted(warnings, key=lambda warning: places.get(_address(warning)[:2], 0))


def _meta(document: RunDocument, mark: ReplayMark, footer: Footer, extracted: Extracted) -> PartMeta:
    """Who made most of the part, and when, stays in its footer: summaries are about that work."""
    return PartMeta(
        run=footer.run,
        spec=document.spec,
        code_version=__version__,
        batch=footer.batch,
        first=footer.first,
        count=footer.count,
        input_digest=footer.input_digest,
        attempt=footer.attempt,
        host=footer.host,
        slot=footer.slot,
        device=footer.device,
        started_unix_s=footer.started_unix_s,
        tokens=footer.tokens + extracted.tokens,
        tokens_used=footer.tokens_used + extracted.tokens_used,
        truncated=footer.truncated + extracted.truncated,
        peak_rss_bytes=footer.peak_rss_bytes,
        generation=mark.generation,
    )
