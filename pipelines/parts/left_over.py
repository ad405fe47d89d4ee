"""What attempts that lost have left in a run's folder: they were killed before they could take it back."""

from __future__ import annotations

from pipelines.parts.cover import NamedFiles
from pipelines.parts.layout import QUARANTINE, TEMPORARY, dead_letter_name, suspicion_name
from pipelines.parts.store import Store


def left_over(store: Store, run: str, named: NamedFiles) -> list[str]:
    """Evidence that no part names, suspicions of batches that have their part, and notes that those were given up."""
    evidence = [f"{QUARANTINE}/{name}" for name in store.list(QUARANTINE) if named.is_left_over(name)]
    notes = [f"{TEMPORARY}/{name}" for name in store.list(TEMPORARY)]
    for name_of in (suspicion_name, dead_letter_name):
        prefix, suffix = name_of(run, 0).rsplit(f"{0:08d}", 1)
        found = ((name, name.removeprefix(prefix).removesuffix(suffix)) for name in notes if name.startswith(prefix))
        evidence += [name for name, batch in found if batch.isdecimal() and named.has_part(int(batch))]
    return evidence
