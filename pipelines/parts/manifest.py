"""The seal: every planned batch has its part, every document is accounted for; then the list of parts, then _SUCCESS.

It may run twice, or in two processes at once: the manifest that is there first stays where it says the same, its
``statistics`` and ``proof`` included, and each looks at its end whether the manifest is still the one it sealed. Killed
anywhere, it is simply run again.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from pipelines.errors import IncompleteError, VerificationError
from pipelines.parts.card import card
from pipelines.parts.cover import NamedFiles, part_differences, quarantine_differences
from pipelines.parts.duplicates import count_duplicates
from pipelines.parts.footer import Footer, read_footer
from pipelines.parts.layout import (
    CARD,
    DATA,
    MANIFEST,
    PLAN,
    QUARANTINE,
    REPLAY,
    SUCCESS,
    batch_of_part,
    part_name,
)
from pipelines.parts.left_over import left_over
from pipelines.parts.limit import DEFAULT_LIMIT, Limit
from pipelines.parts.listing import (
    DeadLetter,
    Head,
    PartRecord,
    load_summary,
    part_line,
    read_head,
    success_bytes,
    write,
)
from pipelines.parts.plan import Plan, PlanEntry
from pipelines.parts.proof_record import Proof, proof_to_keep
from pipelines.parts.receipts import Receipts
from pipelines.parts.run_document import RunDocument
from pipelines.parts.sink import is_committed
from pipelines.parts.store import Store, storage
from pipelines.parts.summary import Summary, Tally

__all__ = [
    "DEFAULT_LIMIT",
    "Limit",
    "MissingPartsError",
    "Summary",
    "load_summary",
    "seal",
    "sealed_head",
]

_NAMED_MISSING = 1000


class MissingPartsError(IncompleteError):
    """Batches without a part; ``batches`` are the first thousand of them."""

    def __init__(self, message: str, hint: str = "", batches: tuple[int, ...] = ()) -> None:
        super().__init__(message, hint)
        self.batches = batches

    # pickle takes any tuple; the base's one is shorter
    def __reduce__(self) -> tuple[type[MissingPartsError], tuple[str, str, tuple[int, ...]]]:  # type: ignore[override]
        return type(self), (self.message, self.hint, self.batches)


def seal(
    store: Store,
    document: RunDocument,
    *,
    max_quarantined: Limit = DEFAULT_LIMIT,
    dead: Mapping[int, str] | None = None,
    statistics: Mapping[str, int] | None = None,
    proof: Proof | None = None,
    between: Callable[[], None] = lambda: None,
) -> Summary:
    """Check a finished run and write its manifest; with ``_SUCCESS``, if nothing is dead and the quarantine is small.

    ``dead`` are the batches that were given up, with the reason; a part that is there after all counts. ``between`` is
    called at every part, before anything is written for good: what it raises ends the seal there. Raises
    MissingPartsError where parts are missing, IncompleteError where the plan is not sealed, VerificationError naming
    the file where something is not as it was written.
    """
    totals = Plan(store).totals()
    if totals is None:
        raise IncompleteError(f"{store.root}: the plan is not complete yet.", "`penstock resume` goes on with it.")
    _refuse_foreign(store, totals.batches)
    audit = _Audit(store, document, totals.batches, dead or {}, between)
    lines = store.new_temporary()
    try:
        parts_sha256 = audit.run(lines)
        for folder in (PLAN, QUARANTINE, DATA):
            store.settle(folder)  # a name that was seen may not be durable yet, and the seal must not outlive it
        for name in left_over(store, document.run, audit.named):
            store.remove(name)
        tally = audit.tally
        dead_documents = sum(letter.documents for letter in audit.letters)
        rows, quarantined = tally.sums["rows"], tally.sums["rejects"]
        if rows + quarantined + dead_documents != totals.documents:
            found = f"{rows} rows, {quarantined} in quarantine and {dead_documents} in dead letters"
            raise VerificationError(f"{store.root}: {found} are not the {totals.documents} documents of the plan.")
        complete = not audit.letters and max_quarantined.allows(quarantined, totals.documents)
        summary = Summary(
            run=document.run,
            out=str(store.root),
            state="sealed" if complete else "incomplete",
            documents=totals.documents,
            rows=rows,
            quarantined=quarantined,
            dead_letter_documents=dead_documents,
            duplicate_ids=_duplicates(store, totals.batches, rows, between),
            blank_lines=totals.blank_lines,
            tokens=tally.sums["tokens"],
            tokens_used=tally.sums["tokens_used"],
            truncated=tally.sums["truncated"],
            parts=tally.parts,
            bytes=tally.bytes,
            seconds=tally.seconds(),
            workers=tally.workers(),
            quarantined_by_reason=dict(sorted(tally.reasons.items())),
            warnings=tally.sums["warnings"],
            generation=tally.generation,
            repeated=tally.sums["repeated"],
        )
        head = Head(
            run=document.run,
            fingerprint=document.fingerprint,
            max_quarantined=max_quarantined.text,
            summary=summary,
            parts_sha256=parts_sha256,
            dead_letters=tuple(audit.letters),
            statistics=dict(statistics or {}),
            proof=proof,
        )
        return _publish(store, document, head, lines, audit.schema)
    finally:
        with contextlib.suppress(OSError):
            lines.unlink(missing_ok=True)


def sealed_head(store: Store, document: RunDocument) -> Head | None:
    """The manifest of a sealed run; None where it has no ``_SUCCESS``, or one for another manifest than is there."""
    success = store.read_if_present(SUCCESS)
    if success is None or not store.exists(MANIFEST):
        return None
    try:
        return read_head(store) if success == success_bytes(document.run, store.digest(MANIFEST)[1]) else None
    except VerificationError:
        return None


def _publish(store: Store, document: RunDocument, head: Head, lines: Path, schema: pa.Schema | None) -> Summary:
    """Write what changed: the manifest, the card, then ``_SUCCESS``, which holds the manifest's digest.

    Another may do the same now. Who wrote ``_SUCCESS`` last looks at the manifest after it, and who wrote the manifest
    last writes ``_SUCCESS`` after it: the two agree in the end.
    """
    complete = head.summary.state == "sealed"
    while True:
        there = sealed_head(store, document)
        if there is not None and there.parts_sha256 == head.parts_sha256:
            store.remove(REPLAY)
            return there.summary  # what is sealed stays as it is
        previous, wanted = read_previous(store), head
        if previous is not None:
            wanted = _generation(head, previous.summary.generation)
            if _same(previous, wanted):
                # Its bytes again, unless they are damaged, or have no proof where there is one now.
                proof = proof_to_keep(previous.proof, wanted.proof)
                wanted = replace(wanted, statistics=previous.statistics, proof=proof)
            else:
                store.remove(SUCCESS)
                wanted = _generation(head, previous.summary.generation + 1)
        store.replace(CARD, card(document, wanted.summary, schema))
        sha256 = write(store, wanted, lines, over=previous is not None)
        if sha256 is None:
            continue  # another wrote one just now
        if complete:
            store.replace(SUCCESS, success_bytes(document.run, sha256))
        else:
            store.remove(SUCCESS)
        if store.exists(MANIFEST) and store.digest(MANIFEST)[1] == sha256:
            store.remove(REPLAY)  # whatever was replayed is listed now
            return wanted.summary


class _Audit:
    """One walk along the plan: reads every footer, writes every line of the manifest, adds everything up."""

    def __init__(
        self, store: Store, document: RunDocument, batches: int, dead: Mapping[int, str], between: Callable[[], None]
    ) -> None:
        self.store = store
        self.between = between
        self.document = document
        self.dead = dead
        self.receipts = Receipts(store, batches)
        self.named = NamedFiles(batches)
        self.tally = Tally()
        self.letters: list[DeadLetter] = []
        self.schema: pa.Schema | None = None

    def run(self, lines: Path) -> str:
        """Write the manifest's part lines; returns their hex SHA-256."""
        missing: list[int] = []
        missing_count = 0
        digest = hashlib.sha256()
        with storage("write", lines), lines.open("xb") as file:
            for entry in Plan(self.store).entries():
                self.between()
                if not is_committed(self.store, entry.batch):
                    if entry.batch in self.dead:
                        reason = self.dead[entry.batch]
                        self.letters.append(DeadLetter(entry.batch, entry.first, entry.count, reason))
                    else:
                        missing_count += 1
                        missing += [entry.batch] if len(missing) < _NAMED_MISSING else []
                    continue
                line = part_line(self._record(entry), first=self.tally.parts == 1)
                file.write(line)
                digest.update(line)
        if missing:
            what = f"{missing_count} parts are" if missing_count > 1 else "a part is"
            message = f"{self.store.root}: {what} missing, the first is {part_name(missing[0])}."
            raise MissingPartsError(message, "`penstock resume` makes them.", tuple(missing))
        return digest.hexdigest()

    def _record(self, entry: PlanEntry) -> PartRecord:
        name = part_name(entry.batch)
        footer = read_footer(self.store, entry.batch)
        found = part_differences(entry, footer, self.document) or quarantine_differences(self.store, footer)
        if self.schema is None:
            self.schema = footer.schema
        elif not footer.schema.equals(self.schema):
            found.append("its columns have other types than those of the parts before")
        if found:
            raise VerificationError(f"{self.store.root / name}: {'; '.join(found)}.", "Remove it, then resume.")
        size, sha256 = self._digest(name, footer)
        self.named.note(footer)
        self.tally.add(footer, size)
        return PartRecord(name, entry.batch, entry.first, footer.rows, footer.rejects, size, sha256, footer.quarantine)

    def _digest(self, name: str, footer: Footer) -> tuple[int, str]:
        receipt = self.receipts.get(footer.batch)
        if receipt is None or footer.generation > 1:  # the receipt of a part that was replayed is the old part's
            return self.store.digest(name)
        size = self.store.size(name)
        if size != receipt[0]:
            message = f"{self.store.root / name} has {size} bytes, {receipt[0]} were written."
            raise VerificationError(message, "Remove it, then resume.")
        return receipt


def _refuse_foreign(store: Store, batches: int) -> None:
    for name in store.scan(DATA):
        batch = batch_of_part(name)
        if batch is None or batch >= batches:
            message = f"{store.root / DATA / name} is no part of this run, and every reader would take it for data."
            raise VerificationError(message, "Move it away, then resume.")


def _duplicates(store: Store, batches: int, rows: int, between: Callable[[], None]) -> int:
    names = (part_name(batch) for batch in range(batches) if is_committed(store, batch))
    return count_duplicates(store, names, rows, between=between)


def read_previous(store: Store) -> Head | None:
    """The manifest that is there; one that is damaged is removed, all of it is computed anew."""
    try:
        return read_head(store)
    except VerificationError:
        store.remove(MANIFEST)
        return None


def _generation(head: Head, least: int) -> Head:
    return replace(head, summary=replace(head.summary, generation=max(head.summary.generation, least)))


def _same(previous: Head, head: Head) -> bool:
    """Whether the manifest that is there says the same already."""
    summary = replace(previous.summary, state=head.summary.state)
    return replace(previous, summary=summary, statistics=head.statistics, proof=head.proof) == head
