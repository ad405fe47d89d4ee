"""The corpus as numbered batches: those in the plan that are not committed yet, then those that are not planned yet.

The plan in the store is the record. A batch is read from the corpus when it is planned, and again from its cursor
whenever its documents are needed once more; the digest says whether they are still the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from pipelines.batching import batches
from pipelines.corpus import CorpusReader, check_unchanged, open_corpus
from pipelines.corpus.regular import open_regular
from pipelines.corpus.source_digest import source_digest
from pipelines.documents import Batch, Document, Reject, items_digest
from pipelines.errors import CorpusChangedError, InfrastructureError, SurroundingsError
from pipelines.lost_rows import with_lost_rows
from pipelines.parts.plan import Plan, PlanEntry, entry_of
from pipelines.parts.sink import is_committed
from pipelines.parts.store import Store
from pipelines.ranges import Ranges
from pipelines.spec import RunSpec

PROGRESS_S = 1.0
_LOOK_ITEMS = 256


class Planner:
    """Reads a run's corpus as batches and keeps its plan. One thread uses it."""

    def __init__(self, store: Store, spec: RunSpec) -> None:
        self.store = store
        self.spec = spec
        self.plan = Plan(store)
        self._limits = {"max_documents": spec.batch_documents, "max_text_bytes": spec.max_batch_text_bytes}
        self._rereader: CorpusReader | None = None
        self._following: Iterator[Document | Reject] = iter(())

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
            yield from batches(reader, number=number, **self._limits)
            self.end = reader.cursor
            if number == self.end.documents == 0:
                yield Batch(0, 0, [], start=end, end=self.end)

    def ranges(self) -> Iterator[Batch | PlanEntry]:
        """The same batches, found at scan speed where the format allows it; with documents only what is compressed."""
        number, end, _ = self.plan.tail()
        with Ranges(self.spec.corpus, end, number=number, **self._limits) as ranges:
            yield from ranges
            self.end = ranges.end
            if number == self.end.documents == 0:
                yield entry_of(Batch(0, 0, [], start=end, end=self.end))

    def record(self, planned: Sequence[Batch | PlanEntry]) -> bool:
        """Append batches to the plan; False when another feeder was faster (then start over from the plan)."""
        return self.plan.append(planned)

    def seal(self) -> None:
        """All batches are recorded, :meth:`fresh` or :meth:`ranges` is exhausted: close the plan with its totals.

        Raises CorpusChangedError where a file is not what it was when it was listed: it grew while it was read, say.
        """
        check_unchanged(self.spec.corpus)
        self.plan.seal(self.end)

    def read(self, entry: PlanEntry, on_progress: Callable[[], object] = lambda: None) -> Batch:
        """The documents of a planned batch, read (again). ``on_progress`` is called now and then while that goes on.

        Raises CorpusChangedError where they are not the planned ones.
        """
        try:
            batch = self._read(entry, on_progress)
        except BaseException:
            self.close()  # what was interrupted does not go on
            raise
        if not self._are_planned(batch, entry):
            self.close()
            shard = self.spec.corpus.shards[min(entry.start.shard, len(self.spec.corpus.shards) - 1)]
            raise CorpusChangedError(
                f"{shard.uri} is not what it was when batch {entry.batch} was planned.",
                "Put the original file back, or start a new run in another folder.",
            )
        return batch

    def _read(self, entry: PlanEntry, on_progress: Callable[[], object]) -> Batch:
        reader, following = self._reader_at(entry)
        items: list[Document | Reject] = []
        warnings: list[Reject] = []
        end, told = entry.start, time.monotonic()
        for item, place in with_lost_rows(self.spec.corpus, entry, reader, following):
            items.append(item)
            end = place
            warnings += reader.take_warnings()
            if not len(items) % _LOOK_ITEMS and time.monotonic() - told > PROGRESS_S:
                on_progress()
                told = time.monotonic()
            if len(items) == entry.count:
                break
        else:
            end = reader.cursor
        return Batch(entry.batch, entry.first, items, warnings, entry.start, end)

    def check_visible(self, entry: PlanEntry) -> None:
        """Raises SurroundingsError where this machine cannot see a file of a batch, InfrastructureError for faults."""
        for shard in self.spec.corpus.shards[entry.start.shard : entry.end.shard + 1]:
            try:
                open_regular(shard.uri).close()
            except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
                raise SurroundingsError(
                    f"{shard.uri} cannot be read by this worker: {error.strerror}.",
                    "What was planned with `--transport reference` has to lie under the same path on every worker: "
                    "make it visible there, by a link for one, and resume; or start a new run in another folder.",
                ) from error
            except OSError as error:
                raise InfrastructureError(f"{shard.uri} cannot be read: {error.strerror or error}.") from error

    def _are_planned(self, batch: Batch, entry: PlanEntry) -> bool:
        """Whether a batch that was read is the planned one."""
        if len(batch.items) != entry.count:
            return False
        if not entry.source_digest:
            return items_digest(batch.items) == entry.input_digest
        if batch.end != entry.end:
            return False
        try:  # after the items, so that what changed while they were read is noticed too
            return source_digest(self.spec.corpus, entry.start, entry.end) == entry.source_digest
        except FileNotFoundError:
            return False
        except OSError as error:
            raise InfrastructureError(f"The corpus cannot be read: {error.strerror or error}.") from error

    def close(self) -> None:
        """Close the file that batches were read again from."""
        if self._rereader is not None:
            self._rereader.close()
            self._rereader = None

    def _reader_at(self, entry: PlanEntry) -> tuple[CorpusReader, Iterator[Document | Reject]]:
        """A reader that stands at the entry, and its items from there on.

        The open one where it does: compressed files cannot be entered in the middle.
        """
        if self._rereader is None or self._rereader.cursor != entry.start:
            self.close()
            self._rereader = open_corpus(self.spec.corpus, entry.start)
            self._following = iter(self._rereader)
        return self._rereader, self._following
