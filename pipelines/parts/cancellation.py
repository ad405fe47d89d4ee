"""That a run was cancelled, kept in its folder until somebody resumes it: Redis may forget what it was told."""

from __future__ import annotations

from pipelines.parts.layout import cancellation_name
from pipelines.parts.store import Store


def put_cancellation(store: Store, run: str) -> None:
    """Note that a run is cancelled. Said again, it stays so."""
    store.put_if_absent(cancellation_name(run), b"")


def is_cancelled(store: Store, run: str) -> bool:
    """Whether a run was cancelled and not resumed since."""
    return store.exists(cancellation_name(run))


def take_back_cancellation(store: Store, run: str) -> None:
    """A run goes on, by the command that holds its folder."""
    store.remove(cancellation_name(run))
