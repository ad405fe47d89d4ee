"""Batches by reference: Redis holds a mark in the place of the documents, and the worker reads them from the corpus."""

from __future__ import annotations

import functools
from pathlib import Path

from pipelines.errors import InputError
from pipelines.parts.plan import PlanEntry
from pipelines.parts.run_document import Transport, load
from pipelines.parts.store import Store
from pipelines.planning import Planner
from pipelines.ranges import is_compressed
from pipelines.spec import CorpusSpec

BY_REFERENCE = b"by reference"
"""What is stored in the place of a body. It is no Arrow stream."""


def is_sent_by_reference(entry: PlanEntry, transport: Transport, corpus: CorpusSpec) -> bool:
    """How a planned batch is to travel.

    One that was planned without reading it has no digest that a body could be held against: its workers read it. What
    is compressed is read once, by who feeds: each worker would decompress the file from its start to its batch.
    """
    if entry.source_digest:
        return True
    return transport is Transport.REFERENCE and not is_compressed(corpus, entry.start, entry.end)


@functools.lru_cache(maxsize=16)
def planner_of(run: str, root: Path) -> Planner:
    """The plan and the corpus of a run, for whoever reads single batches: both stay open.

    Raises InputError where another run has come into the folder.
    """
    document = load(Store(root))
    if document is None or document.run != run:
        raise InputError(f"{root} does not hold run {run} any more.")
    return Planner(Store(root), document.spec)
