"""Planning by reference: the batches that reading would give, found by scanning, without their documents.

Where a scan cannot tell where a batch ends, that batch is read, and the plan has the digest of its items; of the others
it has the digest of their source. The cut is the same either way. What is compressed comes with its documents: whoever
reads it again decompresses the file from its start.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.batching import batches
from pipelines.corpus import CorpusReader, open_corpus
from pipelines.corpus.scan import Scan, UnscannableError
from pipelines.corpus.scanning import open_scan
from pipelines.corpus.source_digest import new_digest
from pipelines.documents import Batch, Cursor
from pipelines.parts.plan import PlanEntry, entry_of
from pipelines.spec import MAX_BATCH_TEXT_BYTES, CorpusSpec


def is_compressed(spec: CorpusSpec, start: Cursor, end: Cursor) -> bool:
    """Whether any file that lies between two cursors, or that one of them stands in, is compressed."""
    return any(shard.compression != "none" for shard in spec.shards[start.shard : end.shard + 1])


class Ranges:
    """The batches of a corpus from a cursor on, as entries of its plan, compressed ones whole. One pass; close it.

    ``end`` is the end of what was planned; after the last batch the end of the corpus, with all its blank lines.
    ``scanned`` and ``read`` count the batches that were found either way.
    """

    def __init__(
        self,
        spec: CorpusSpec,
        start: Cursor,
        *,
        number: int,
        max_documents: int,
        max_text_bytes: int = MAX_BATCH_TEXT_BYTES,
    ) -> None:
        self.end = start
        self.scanned = self.read = 0
        self._spec = spec
        self._number = number
        self._max_documents = max_documents
        self._max_text_bytes = max_text_bytes
        self._scan: Scan | None = None
        self._scanned_to = start
        self._unscannable = -1  # the file that is read from here to its end
        self._reader: CorpusReader | None = None
        self._batches: Iterator[Batch] = iter(())
        self._read_to: Cursor | None = None

    def __iter__(self) -> Iterator[Batch | PlanEntry]:
        while True:
            planned: Batch | PlanEntry | None
            try:
                planned, end = self._scan_one()
                self.scanned += planned is not None
            except UnscannableError:
                planned, end = self._read_one()
                self.read += planned is not None
            self.end = end
            if planned is None:
                return
            yield planned
            self._number += 1

    def __enter__(self) -> Ranges:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files that are open."""
        self._close_scan()
        if self._reader is not None:
            self._reader.close()
            self._reader, self._read_to = None, None

    def _scan_one(self) -> tuple[PlanEntry | None, Cursor]:
        """The next batch and the place after it; None and the end of the corpus. Raises UnscannableError."""
        start = place = end = self.end
        digest = source = new_digest()
        wanted = self._max_documents
        if self._spec.limit is not None:
            wanted = min(wanted, self._spec.limit - start.documents)
        text_bytes = 0
        if self._scanned_to.shard == len(self._spec.shards):
            return None, self._scanned_to
        while wanted > 0 and place.shard < len(self._spec.shards):
            scan = self._scan_at(place)
            try:
                passed = scan.take(wanted, self._max_text_bytes - text_bytes, digest)
            except UnscannableError:
                if not scan.enterable:
                    self._unscannable = place.shard
                self._close_scan()
                raise
            wanted -= passed.items
            text_bytes += passed.text_bytes
            place = Cursor(
                place.shard,
                passed.offset,
                passed.line,
                place.documents + passed.items,
                place.blank_lines + passed.blank_lines,
            )
            if passed.items:
                end, source = place, passed.digest
            if passed.ended:
                self._close_scan()
                place = Cursor(place.shard + 1, 0, 0, place.documents, place.blank_lines + passed.blank_after)
            self._scanned_to = place
        if end == start:
            return None, place
        count = end.documents - start.documents
        return PlanEntry(self._number, start.documents, count, start, end, "", text_bytes, source.hexdigest()), end

    def _scan_at(self, place: Cursor) -> Scan:
        """The scan that stands at a place; the open one where it does."""
        if place.shard == self._unscannable:
            raise UnscannableError("it has to be read")
        if self._scan is None or self._scanned_to != place:
            self._close_scan()
            try:
                self._scan = open_scan(self._spec.shards[place.shard], self._spec, place.offset, place.line)
            except UnscannableError:
                self._unscannable = place.shard
                raise
        return self._scan

    def _read_one(self) -> tuple[Batch | PlanEntry | None, Cursor]:
        """The same by reading."""
        if self._reader is None or self._read_to != self.end:
            if self._reader is not None:
                self._reader.close()
            self._reader = open_corpus(self._spec, self.end)
            self._batches = batches(
                self._reader,
                number=self._number,
                max_documents=self._max_documents,
                max_text_bytes=self._max_text_bytes,
            )
        batch = next(self._batches, None)
        if batch is None:
            return None, self._reader.cursor
        self._read_to = batch.end
        whole = is_compressed(self._spec, batch.start, batch.end)
        return batch if whole else entry_of(batch), batch.end

    def _close_scan(self) -> None:
        if self._scan is not None:
            self._scan.close()
            self._scan = None
