"""Whether a part is the one that the plan asks for. The plan's batches cover the corpus, so its parts do too."""

from __future__ import annotations

from pipelines.errors import VerificationError
from pipelines.parts import quarantine
from pipelines.parts.footer import Footer
from pipelines.parts.layout import batch_of_quarantine
from pipelines.parts.listing import PartRecord
from pipelines.parts.plan import PlanEntry
from pipelines.parts.run_document import RunDocument
from pipelines.parts.store import Store


def part_differences(entry: PlanEntry, footer: Footer, document: RunDocument) -> list[str]:
    """What is wrong with a part, one phrase each; empty for the part that was planned."""
    pairs = [
        ("run", footer.run, document.run),
        ("fingerprint", footer.fingerprint, document.fingerprint),
        ("batch", footer.batch, entry.batch),
        ("first document", footer.first, entry.first),
        ("number of documents", footer.count, entry.count),
        # A batch that was planned without reading it has no digest of its items before its part has.
        ("input digest", footer.input_digest, entry.input_digest or footer.input_digest),
        ("rows and rejects", footer.rows + footer.rejects, entry.count),
        ("number of rows", footer.file_rows, footer.rows),
        ("rejects by reason", sum(footer.rejects_by_reason.values()), footer.rejects),
        ("columns", ", ".join(footer.schema.names), ", ".join(document.spec.column_names)),
    ]
    found = [f"its {what} is {there}, wanted {wanted}" for what, there, wanted in pairs if there != wanted]
    if bool(footer.quarantine) != bool(footer.rejects + footer.warnings):
        found.append(f"it names the quarantine file {footer.quarantine!r} for {footer.rejects} rejects")
    elif footer.quarantine and _batch(footer.quarantine) != entry.batch:
        found.append(f"its quarantine file {footer.quarantine} is another batch's")
    return found


def quarantine_differences(store: Store, footer: Footer) -> list[str]:
    """What is wrong with the quarantine file that a part names, from its footer; empty where all is well."""
    if not footer.quarantine:
        return []
    try:
        rows = quarantine.count_rows(store, footer.quarantine)
    except VerificationError as error:
        return [str(error)]
    wanted = footer.rejects + footer.warnings
    return [f"{footer.quarantine} has {rows} rows, wanted {wanted}"] if rows != wanted else []


class NamedFiles:
    """Which quarantine file each batch's part names, 8 bytes of memory for each batch."""

    def __init__(self, batches: int) -> None:
        self._named = memoryview(bytearray(8 * batches)).cast("Q")

    def note(self, part: Footer | PartRecord) -> None:
        """Remember a part; a part that names no file is remembered as well."""
        found = batch_of_quarantine(part.quarantine.partition("/")[2])
        self._named[part.batch] = 1 if found is None else int(found[1], 16) + 2

    def has_part(self, batch: int) -> bool:
        """Whether a batch's part was noted."""
        return 0 <= batch < len(self._named) and self._named[batch] != 0

    def is_named(self, file_name: str) -> bool:
        """Whether a file in ``_quarantine/`` is the one that its batch's part names."""
        found = batch_of_quarantine(file_name)
        if found is None or not self.has_part(found[0]):
            return False
        return self._named[found[0]] == int(found[1], 16) + 2

    def is_left_over(self, file_name: str) -> bool:
        """Whether a file in ``_quarantine/`` is the evidence of an attempt that lost to the part that is there.

        That of a batch without a part is not: somebody may be writing it.
        """
        found = batch_of_quarantine(file_name)
        return found is not None and self.has_part(found[0]) and not self.is_named(file_name)


def _batch(quarantine_file: str) -> int | None:
    found = batch_of_quarantine(quarantine_file.partition("/")[2])
    return None if found is None else found[0]
