"""What can be amiss in the folder of a sealed run, though its parts are right: for ``resume``."""

from __future__ import annotations

from pipelines.errors import IncompleteError
from pipelines.parts.cover import NamedFiles
from pipelines.parts.layout import SUCCESS
from pipelines.parts.left_over import left_over
from pipelines.parts.limit import Limit
from pipelines.parts.listing import read_parts
from pipelines.parts.manifest import read_previous, seal, sealed_head
from pipelines.parts.plan import Plan
from pipelines.parts.run_document import RunDocument
from pipelines.parts.store import Store


def is_sound(store: Store, document: RunDocument) -> bool:
    """Whether ``_SUCCESS`` is the manifest's, and nothing was left over. Reads no part."""
    return sealed_head(store, document) is not None and not _left_over(store, document)


def mend(store: Store, document: RunDocument, limit: Limit) -> None:
    """Remove what was left over; where ``_SUCCESS`` is not the manifest's, seal anew. For the folder's holder.

    Where that cannot be (parts are missing), ``_SUCCESS`` goes. ``limit`` is for a manifest that cannot be read.
    """
    if sealed_head(store, document) is not None:
        for name in _left_over(store, document):
            store.remove(name)
        return
    previous = read_previous(store)
    if previous is not None:
        limit = Limit.parse(previous.max_quarantined)
    try:
        seal(store, document, max_quarantined=limit, proof=previous.proof if previous else None)
    except IncompleteError:
        store.remove(SUCCESS)


def _left_over(store: Store, document: RunDocument) -> list[str]:
    totals = Plan(store).totals()
    named = NamedFiles(totals.batches if totals else 0)
    for record in read_parts(store) if totals else ():
        named.note(record)
    return left_over(store, document.run, named)
