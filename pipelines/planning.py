"""The corpus as numbered batches: those in the plan that are not committed yet, then those that are not planned yet.

The plan in the store is the record. A batch is read from the corpus when it is planned, and again from its cursor
whenever its documents are needed once more; the digest says whether they are still the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipelines.batching import batches
from pipelines.corpus import CorpusReader, check_unchanged, open_corpus
from pipelines.documents import Batch, Document, Reject, items_digest
from pipelines.errors import CorpusChangedError
from pipelines.parts.plan import Plan, PlanEntry
from pipelines.parts.sink import is_committed
from pipelines.parts.store import Store
from pipelines.spec import RunSpec


class Planner:
    """Reads a run's corpus as batches and keeps its plan. One thread uses it."""

    def __init__(self, store: Store, spec: RunSpec) -> None:
        self.store = store
        self.spec = spec
        self.plan = Plan(store)
        self._rereader: CorpusReader | None = None

    def backlog(self) -> Iterator[PlanEntry]:
        """The planned batches that have no part yet, in order."""
        for entry in self.plan.entries():
            if not is_committed(self.store, entry.batch):
                yield entry

    def fresh(self) -> Iterator[Batch]:
        """The batches behind the end of the plan; :meth:`record` them before anything is done with them.

        A corpus without documents is one batch without items: its part has no rows, but columns that can be read.
        """
        number, end, _ = self.plan.tail()
        with open_corpus(self.spec.corpus, end) as reader:
            yield from batches(reader, number=number, max_documents=self.spec.batch_documents)
            self.end = reader.cursor
            if number == self.end.documents == 0:
                yield Batch(0, 0, [], start=end, end=self.end)

    def record(self, planned: Sequence[Batch]) -> bool:
        """Append batches to the plan; False when another feeder was faster (then start over from the plan)."""
        return self.plan.append(planned)

    def seal(self) -> None:
        """The corpus is read to its end: close the plan with its totals. Call after :meth:`fresh` is exhausted.

        Raises CorpusChangedError where a file is not what it was when it was listed: it grew while it was read, say.
        """
        check_unchanged(self.spec.corpus)
        self.plan.seal(self.end)

    def read(self, entry: PlanEntry) -> Batch:
        """The documents of a planned batch, read again.

        Raises CorpusChangedError where they are not the planned ones.
        """
        reader = self._reader_at(entry)
        items: list[Document | Reject] = []
        warnings: list[Reject] = []
        for item in reader:
            items.append(item)
            warnings += reader.take_warnings()
            if len(items) == entry.count:
                break
        if len(items) != entry.count or items_digest(items) != entry.input_digest:
            self.close()
            shard = self.spec.corpus.shards[min(entry.start.shard, len(self.spec.corpus.shards) - 1)]
            raise CorpusChangedError(
                f"{shard.uri} is not what it was when batch {entry.batch} was planned.",
                "Put the original file back, or start a new run in another folder.",
            )
        return Batch(entry.batch, entry.first, items, warnings, entry.start, reader.cursor)

    def close(self) -> None:
        """Close the file that batches were read again from."""
        if self._rereader is not None:
            self._rereader.close()
            self._rereader = None

    def _reader_at(self, entry: PlanEntry) -> CorpusReader:
        """A reader that stands at the entry; the open one where it does, since compressed files cannot be seeked."""
        reader = self._rereader
        if reader is not None and reader.cursor == entry.start:
            return reader
        self.close()
        self._rereader = open_corpus(self.spec.corpus, entry.start)
        return self._rereader
