"""Documents in quarantine get another attempt, in this process; the parts of a finished run are rewritten with them.

The corpus, the plan and the rows that are there stay as they are. A part is swapped in one step, so the dataset is
whole at any time; ``_replay.json`` and the generation in the parts' footers say how far a replay has come. Killed
anywhere, it is simply called again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipelines.corpus import check_unchanged
from pipelines.documents import Reason
from pipelines.errors import CorpusChangedError, InputError, UsageError
from pipelines.extract import Extractor
from pipelines.parts.layout import SUCCESS
from pipelines.parts.limit import Limit
from pipelines.parts.listing import Head, PartRecord, read_head, read_parts
from pipelines.parts.manifest import seal
from pipelines.parts.replay_mark import ReplayMark, check_replayable, put_mark, read_mark, replay_command
from pipelines.parts.replay_trail import ReplayTrail
from pipelines.parts.run_document import RunDocument
from pipelines.parts.sink import Footer, read_footer, recommit
from pipelines.parts.store import Store
from pipelines.planning import Planner
from pipelines.reattempt import Reattempt

OnPart = Callable[[int, int, int | None], None]


@dataclass(frozen=True, slots=True)
class Replayed:
    """What one call did: documents that it tried again, those of them that have a row now, parts it rewrote."""

    documents: int
    recovered: int
    parts: int


def replay(
    store: Store,
    document: RunDocument,
    *,
    reason: Reason | None = None,
    device: str = "cpu",
    token_budget: int | None = None,
    on_part: OnPart = lambda *_: None,
) -> Replayed:
    """Extract what is in quarantine (for ``reason``, or for any that is not reading's) again, and seal the run again.

    The caller holds the folder. ``on_part`` is told documents, tokens and the total of documents after each part.
    Raises InputError where the run is not finished, UsageError where another replay was begun or the reason is one of
    reading, CorpusChangedError where a document cannot be read again, VerificationError where a part is damaged.
    """
    check_replayable(reason)
    head = read_head(store)
    if head is None:
        hint = f"`penstock resume {store.root}` finishes it; then replay what is in quarantine."
        raise InputError(f"The run in {store.root} is not finished.", hint)
    mark, begun = _mark(store, head, reason)
    total = sum(footer.rejects_by_reason.get(code, 0) for _, footer in _waiting(store, mark) for code in mark.reasons)
    if not total and not begun:
        return Replayed(0, 0, 0)
    planner = Planner(store, document.spec)
    trail = ReplayTrail(store, mark)
    documents = recovered = parts = 0
    try:
        if total:
            check_unchanged(document.spec.corpus)
            extractor = Extractor(document.spec, device=device, token_budget=token_budget)
            reattempt = Reattempt(store, document, mark, planner, extractor, trail)
            for record, footer in _waiting(store, mark):
                again = reattempt.part(record, footer)
                if not begun:
                    put_mark(store, mark)
                    begun = True
                store.remove(SUCCESS)
                recommit(store, footer, again.meta, again.table, again.rejects, again.warnings)
                documents, recovered, parts = documents + again.tried, recovered + again.recovered, parts + 1
                on_part(again.tried, again.meta.tokens_used - footer.tokens_used, total)
    except CorpusChangedError:
        # What is rewritten is right, the rest is as it was: the dataset need not wait for the old corpus.
        if begun:
            trail.remove()
            _seal(store, document, head)
        raise
    finally:
        planner.close()
    trail.remove()
    _seal(store, document, head)
    return Replayed(documents, recovered, parts)


def _mark(store: Store, head: Head, reason: Reason | None) -> tuple[ReplayMark, bool]:
    """The replay to do, and whether it was begun already. Raises UsageError where another one was."""
    there = read_mark(store)
    if there is not None and there.reason == reason:
        return there, True
    if there is not None and not store.exists(SUCCESS):  # with it, nothing was rewritten, or all is sealed
        raise UsageError(
            f"Another replay was begun in {store.root}.",
            f"`{replay_command(store.root, there.reason)}` goes on with it; "
            f"`penstock resume {store.root}` seals what is there.",
        )
    return ReplayMark(head.summary.generation + 1, reason), False


def _waiting(store: Store, mark: ReplayMark) -> Iterator[tuple[PartRecord, Footer]]:
    """The parts with rejects to try again, without those that this replay has rewritten."""
    for record in read_parts(store):
        if not record.rejects:
            continue
        footer = read_footer(store, record.batch)
        if footer.generation != mark.generation and any(map(footer.rejects_by_reason.get, mark.reasons)):
            yield record, footer


def _seal(store: Store, document: RunDocument, head: Head) -> None:
    dead = {letter.batch: letter.reason for letter in head.dead_letters}
    limit = Limit.parse(head.max_quarantined)
    seal(store, document, max_quarantined=limit, dead=dead, statistics=head.statistics, proof=head.proof)
