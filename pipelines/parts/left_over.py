"""What attempts that lost have left in a run's folder: they were killed before they could take it back."""

from __future__ import annotations

from pipelines.parts.cover import NamedFiles
from pipelines.parts.layout import QUARANTINE, TEMPORARY, suspicion_name
from pipelines.parts.store import Store


def left_over(store: Store, run: str, named: NamedFiles) -> list[str]:
    """Evidence that no part names, and suspicions of batches that have their part."""
    evidence = [f"{QUARANTINE}/{name}" for name in store.list(QUARANTINE) if named.is_left_over(name)]
    prefix, suffix = suspicion_name(run, 0).rsplit(f"{0:08d}", 1)
    found = [name for name in (f"{TEMPORARY}/{name}" for name in store.list(TEMPORARY)) if name.startswith(prefix)]
    batches = ((name, name.removeprefix(prefix).removesuffix(suffix)) for name in found)
    return evidence + [name for name, batch in batches if batch.isdecimal() and named.has_part(int(batch))]
