"""How much of a run's work is done, by the bytes of text that a model reads: documents differ too much to be counted.

Of each document as many bytes count as may be used: a text beyond ``max_tokens`` costs next to nothing. Batches are
taken to be done in the order of the plan, which is true up to those in flight.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipelines.batching import item_text_bytes
from pipelines.corpus.blocks import expansion
from pipelines.corpus.line_samples import used_shares
from pipelines.documents import Batch, Cursor
from pipelines.parts.plan import PlanEntry
from pipelines.spec import CorpusSpec, Format

BYTES_PER_TOKEN = 4.5
"""Of English under RoBERTa's tokenizer; it decides only where a text is taken to be cut."""
_BY_ROWS = (Format.PARQUET, Format.ARROW)


class Work(NamedTuple):
    """Bytes of text of this command's documents: those done, and about how many there are in all."""

    done: float
    total: float


class Forecast:
    """The work that lies before a command, as its plan grows: 16 bytes of memory per batch."""

    def __init__(self, corpus: CorpusSpec, max_tokens: int) -> None:
        self._corpus = corpus
        self._sizes = array("q", accumulate((shard.size for shard in corpus.shards), initial=0))
        self._cap = BYTES_PER_TOKEN * max_tokens
        self._documents = array("q", [0])
        self._bytes = array("d", [0.0])
        self._next = 0
        self._skipped = 0.0
        self._end: Cursor | None = None
        self._expansions: dict[int, float] = {}
        self._shares: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None = None

    def add(self, planned: Batch | PlanEntry, *, done: bool = False) -> None:
        """One more batch of the plan, ``done`` before this command; one that was added already is left out."""
        number = planned.number if isinstance(planned, Batch) else planned.batch
        if number < self._next:
            return
        self._next, self._end = number + 1, planned.end
        if isinstance(planned, Batch):
            count, size = len(planned.items), sum(min(item_text_bytes(item), self._cap) for item in planned.items)
        else:
            count, size = planned.count, min(planned.text_bytes, planned.count * self._cap)
        if done:
            self._skipped += size
            return
        self._documents.append(self._documents[-1] + count)
        self._bytes.append(self._bytes[-1] + size)

    def work(self, documents: int, *, complete: bool) -> Work | None:
        """The work of which this command has done so many documents; None where nobody knows how much there is.

        ``complete``: the plan holds the whole corpus. Until then the rest is judged by its files' sizes and some lines.
        """
        planned = 1.0 if complete else self._fraction()
        if planned <= 0.0:
            return None
        left = bisect_right(self._documents, documents) - 1
        done = self._bytes[left]
        if left + 1 < len(self._bytes):
            span = self._documents[left + 1] - self._documents[left]
            done += (self._bytes[left + 1] - done) * (documents - self._documents[left]) / span
        seen = self._bytes[-1]
        return Work(done, seen + (seen + self._skipped) * (1.0 / planned - 1.0))

    def _expansion(self, shard: int) -> float:
        """Bytes that a byte of a file gives; places in a compressed file are those of what is in it."""
        if shard not in self._expansions:
            here = self._corpus.shards[shard]
            self._expansions[shard] = expansion(here.uri, here.compression)
        return self._expansions[shard]

    def _fraction(self) -> float:
        """How much of what will be read is planned, by the sizes of the files and some lines; 0 where nobody knows."""
        if self._end is None:
            return 0.0
        limit, shards = self._corpus.limit, self._corpus.shards
        before = self._sizes[self._end.shard]
        if self._end.shard < len(shards):
            here = shards[self._end.shard]
            if here.format not in _BY_ROWS:
                before += min(int(self._end.offset / self._expansion(self._end.shard)), here.size)
        if self._shares is None:
            self._shares = used_shares(shards, self._cap)
        places, parts = self._shares
        used = float(parts.sum())
        fraction = float(parts[: int(np.searchsorted(places, before))].sum()) / used if used else 0.0
        return max(fraction, self._end.documents / limit) if limit else fraction
