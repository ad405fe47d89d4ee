"""What was computed of earlier texts, by their digests: with `--once` a text that comes again is not computed again.

It is kept in memory, up to so many bytes; the oldest batch goes first. One thread may look up while another adds.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

MOST_BYTES = 256 << 20


class Place(NamedTuple):
    """A row of the facts of an earlier batch, which it keeps alive."""

    facts: pa.Table
    row: int


class Recall:
    """The facts (columns that depend on a document's text alone) of texts, ``most_bytes`` of them."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._places: dict[bytes, Place] = {}
        self._batches: OrderedDict[int, tuple[pa.Table, Sequence[bytes]]] = OrderedDict()
        self._count = self._bytes = 0
        self._lock = threading.Lock()

    def find(self, digest: bytes) -> Place | None:
        """Where the facts of a text are; ``digest`` is its :func:`pipelines.documents.input_digest`."""
        return self._places.get(digest)

    def add(self, digests: Sequence[bytes], facts: pa.Table) -> None:
        """Remember some texts, one row each; nothing where they alone are too much."""
        if facts.nbytes > self._most:
            return
        with self._lock:
            new = {digest: Place(facts, row) for row, digest in enumerate(digests) if digest not in self._places}
            self._places |= new
            self._batches[self._count] = facts, tuple(new)
            self._count += 1
            self._bytes += facts.nbytes
            while self._bytes > self._most:
                _, (oldest, gone) = self._batches.popitem(last=False)
                self._bytes -= oldest.nbytes
                for digest in gone:
                    del self._places[digest]


def facts_at(places: Sequence[Place]) -> pa.Table:
    """The rows at some places, in their order. There must be one."""
    tables = {id(place.facts): place.facts for place in places}
    numbers = {key: number for number, key in enumerate(tables)}
    of = np.array([numbers[id(place.facts)] for place in places])
    rows = np.array([place.row for place in places])
    order = np.argsort(of, kind="stable")
    taken = [table.take(pa.array(rows[of == number])) for number, table in enumerate(tables.values())]
    return pa.concat_tables(taken).take(pa.array(np.argsort(order, kind="stable")))
