"""Compares a dataset with its manifest, byte by byte, and everything with everything else; names what differs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from pipelines.errors import PenstockError, VerificationError
from pipelines.parts import quarantine
from pipelines.parts.cover import NamedFiles, part_differences, quarantine_differences
from pipelines.parts.duplicates import count_duplicates
from pipelines.parts.footer import Footer, read_footer
from pipelines.parts.layout import (
    CARD,
    DATA,
    MANIFEST,
    QUARANTINE,
    RUN,
    SUCCESS,
    batch_of_part,
    batch_of_quarantine,
    part_name,
)
from pipelines.parts.limit import Limit
from pipelines.parts.listing import Head, PartRecord, read_head, read_parts, success_bytes
from pipelines.parts.plan import Plan, PlanEntry, Totals
from pipelines.parts.replay_mark import read_mark
from pipelines.parts.run_document import RunDocument, load
from pipelines.parts.sink import is_committed
from pipelines.parts.store import Store
from pipelines.parts.summary import Tally

MAX_DIFFERENCES = 1000
_OTHER_SEAL = f"is not the one that {SUCCESS} was written for."
_LEFT_OVER = "belongs to no part: an attempt that was killed left it."
MENDED_BY_RESUME = (_OTHER_SEAL, _LEFT_OVER)
"""How differences end that `penstock resume` mends."""


def verify(store: Store) -> list[str]:
    """Everything in which a dataset differs from its manifest, one line each; at most a thousand. Empty: all is well.

    Raises InfrastructureError only, where the storage itself fails.
    """
    found = list(itertools.islice(_differences(store), MAX_DIFFERENCES))
    if len(found) == MAX_DIFFERENCES:
        found[-1] = "There are more differences than are listed here."
    return found


def _differences(store: Store) -> Iterator[str]:
    try:
        document, head = load(store), read_head(store)
        if document is None or head is None:
            missing = RUN if document is None else MANIFEST
            yield f"{missing} is missing: the run was never sealed, or the file was removed."
            return
        yield from _seal_differences(store, document, head)
        totals = Plan(store).totals()
        if totals is None:
            yield "The plan is not sealed."
            return
        yield from _Comparison(store, document, head, totals).differences()
    except VerificationError as error:
        yield _line(store, error)
    except PenstockError as error:
        if error.code == "infrastructure":
            raise
        yield _line(store, error)


def _seal_differences(store: Store, document: RunDocument, head: Head) -> Iterator[str]:
    data = store.read_if_present(SUCCESS)
    if data is None:
        why = "it has dead letters" if head.dead_letters else "too much is in quarantine, or the seal was interrupted"
        mark = read_mark(store)
        if mark is not None:
            why = "a replay of the quarantine was interrupted"
        yield f"{SUCCESS} is missing: {why}."
    else:
        if data != success_bytes(document.run, store.digest(MANIFEST)[1]):
            yield f"{MANIFEST} {_OTHER_SEAL}"
    for what, there, wanted_text in (
        ("run", head.run, document.run),
        ("fingerprint", head.fingerprint, document.fingerprint),
        ("summary's run", head.summary.run, document.run),
    ):
        if there != wanted_text:
            yield f"{MANIFEST}: its {what} is {there}, {RUN} says {wanted_text}."
    if not store.exists(CARD):
        yield f"{CARD} is missing: without it `datasets.load_dataset` does not find the rows."


class _Comparison:
    def __init__(self, store: Store, document: RunDocument, head: Head, totals: Totals) -> None:
        self.store = store
        self.document = document
        self.head = head
        self.totals = totals
        self.tally = Tally()
        self.named = NamedFiles(totals.batches)
        self.listed = bytearray(totals.batches)
        self.dead = {letter.batch: letter for letter in head.dead_letters}
        self.schema: object = None

    def differences(self) -> Iterator[str]:
        clean = True
        for difference in itertools.chain(self._parts(), self._unlisted()):
            clean = False
            yield difference
        if clean:  # else the sums differ for the reasons above
            yield from self._sums()

    def _parts(self) -> Iterator[str]:
        entries, records = Plan(self.store).entries(), read_parts(self.store)
        entry, record = next(entries, None), next(records, None)
        while entry is not None or record is not None:
            if record is not None and (entry is None or record.batch < entry.batch):
                yield f"{MANIFEST}: it lists {record.name[:80]} of batch {record.batch}, which is not planned there."
                record = next(records, None)
            elif entry is not None and (record is None or entry.batch < record.batch):
                if entry.batch not in self.dead:
                    yield f"{MANIFEST}: it does not list {part_name(entry.batch)}, which the plan has."
                entry = next(entries, None)
            elif entry is not None and record is not None:
                yield from self._part(entry, record)
                entry, record = next(entries, None), next(records, None)

    def _part(self, entry: PlanEntry, record: PartRecord) -> Iterator[str]:
        name = part_name(entry.batch)
        if entry.batch < len(self.listed):
            self.listed[entry.batch] = 1
        if record.name != name:
            yield f"{MANIFEST}: batch {entry.batch} is listed as {record.name[:80]!r}, wanted {name}."
        if not is_committed(self.store, entry.batch):
            yield f"{name} is missing."
            return
        size, sha256 = self.store.digest(name)
        if (size, sha256) != (record.bytes, record.sha256):
            footer = self._replayed(entry)
            if footer is not None:
                self.named.note(footer)
                yield f"{name} was rewritten by a replay that was not sealed: {MANIFEST} lists it as it was before."
                return
            what = f"{size} bytes, {record.bytes} were written" if size != record.bytes else "its bytes were changed"
            yield f"{name} is damaged: {what}."
            return  # nothing in it can be trusted, not even to be read
        try:
            footer = read_footer(self.store, entry.batch)
        except VerificationError as error:
            yield _line(self.store, error)
            return
        yield from (f"{name}: {what}." for what in part_differences(entry, footer, self.document))
        for what, there, wanted in (
            ("rows", record.rows, footer.rows),
            ("rejects", record.rejects, footer.rejects),
            ("first", record.first, footer.first),
            ("quarantine", record.quarantine, footer.quarantine),
        ):
            if there != wanted:
                yield f"{MANIFEST}: {what} of {name} is {there}, the part says {wanted}."
        self.schema = self.schema or footer.schema
        if footer.schema != self.schema:
            yield f"{name}: its columns have other types than those of the parts before."
        yield from self._evidence(footer)
        if footer.batch == entry.batch:
            self.named.note(footer)
            self.tally.add(footer, size)

    def _replayed(self, entry: PlanEntry) -> Footer | None:
        """The footer of a part that an interrupted replay has rewritten; None for any other."""
        mark = read_mark(self.store)
        if mark is None:
            return None
        try:
            footer = read_footer(self.store, entry.batch)
        except VerificationError:
            return None
        return footer if footer.batch == entry.batch and footer.generation == mark.generation else None

    def _evidence(self, footer: Footer) -> Iterator[str]:
        if not footer.quarantine:
            return
        if not self.store.exists(footer.quarantine):
            yield f"{footer.quarantine} is missing."
        elif self.store.digest(footer.quarantine)[1] != footer.quarantine_sha256:
            yield f"{footer.quarantine} is damaged: its bytes were changed."
        else:
            for what in quarantine_differences(self.store, footer):
                yield f"{what}."
            stages = sum(1 for reject in quarantine.read(self.store, footer.quarantine) if reject.stage != "warning")
            if stages != footer.rejects:
                yield f"{footer.quarantine} holds {stages} rejects, its part counts {footer.rejects}."

    def _unlisted(self) -> Iterator[str]:
        for name in self.store.list(DATA):
            batch = batch_of_part(name)
            if batch is None or batch >= len(self.listed) or not self.listed[batch]:
                yield f"{DATA}/{name} is not in the manifest, and every reader takes it for data."
        for name in self.store.list(QUARANTINE):
            found = batch_of_quarantine(name)
            if not self.named.is_named(name) and (found is None or found[0] not in self.dead):
                why = _LEFT_OVER if self.named.is_left_over(name) else "belongs to no part."
                yield f"{QUARANTINE}/{name} {why}"

    def _sums(self) -> Iterator[str]:
        summary, tally = self.head.summary, self.tally
        dead = sum(letter.documents for letter in self.head.dead_letters)
        rows, quarantined = tally.sums["rows"], tally.sums["rejects"]
        parts = (part_name(batch) for batch in range(len(self.listed)) if self.listed[batch])
        for what, there, wanted in (
            ("documents", summary.documents, self.totals.documents),
            ("documents", summary.documents, rows + quarantined + dead),
            ("rows", summary.rows, rows),
            ("quarantined", summary.quarantined, quarantined),
            ("dead_letter_documents", summary.dead_letter_documents, dead),
            ("blank_lines", summary.blank_lines, self.totals.blank_lines),
            ("tokens", summary.tokens, tally.sums["tokens"]),
            ("tokens_used", summary.tokens_used, tally.sums["tokens_used"]),
            ("truncated", summary.truncated, tally.sums["truncated"]),
            ("warnings", summary.warnings, tally.sums["warnings"]),
            ("parts", summary.parts, tally.parts),
            ("bytes", summary.bytes, tally.bytes),
            ("seconds", summary.seconds, tally.seconds()),
            ("workers", summary.workers, tally.workers()),
            ("quarantined_by_reason", summary.quarantined_by_reason, dict(tally.reasons)),
            ("duplicate_ids", summary.duplicate_ids, count_duplicates(self.store, parts, rows)),
        ):
            if there != wanted:
                yield f"{MANIFEST}: {what} is {there}, wanted {wanted}."
        sealed = not dead and Limit.parse(self.head.max_quarantined).allows(quarantined, self.totals.documents)
        if not sealed and self.store.exists(SUCCESS):
            yield f"{SUCCESS} is there, but the run is not complete."


def _line(store: Store, error: PenstockError) -> str:
    return " ".join(error.message.replace(f"{store.root}/", "").split())
