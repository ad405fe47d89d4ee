"""That a batch was given up, kept in the run's folder by the worker that did: Redis alone may say so of any batch."""

from __future__ import annotations

from pipelines.parts.layout import TEMPORARY, dead_letter_name
from pipelines.parts.store import Store

MOST_CHARACTERS = 500
"""Of a reason, in the manifest."""


def put_dead_letter(store: Store, run: str, batch: int, reason: str) -> None:
    """Note that a batch is given up, and why. Before anybody hears of it."""
    store.replace(dead_letter_name(run, batch), reason.encode(errors="replace"))


def dead_letter_reason(store: Store, run: str, batch: int) -> str | None:
    """Why a batch was given up, in one line; None where no worker has noted that."""
    text = store.read_if_present(dead_letter_name(run, batch))
    if text is None:
        return None
    line = " ".join(text[: 4 * MOST_CHARACTERS].decode(errors="replace").split())
    return "".join(character for character in line if character.isprintable())[:MOST_CHARACTERS]


def forget_dead_letters(store: Store, run: str) -> None:
    """A run is resumed: all its batches get new attempts."""
    prefix, suffix = dead_letter_name(run, 0).rsplit(f"{0:08d}", 1)
    for name in [f"{TEMPORARY}/{name}" for name in store.list(TEMPORARY)]:
        if name.startswith(prefix) and name.endswith(suffix):
            store.remove(name)
