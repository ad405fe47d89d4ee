"""The commit: from here on a batch's rows exist, once. Killed at any line, nothing or everything of it is visible."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.documents import Reject
from pipelines.errors import PenstockError, VerificationError
from pipelines.parts import quarantine, receipts
from pipelines.parts.footer import Footer, Outcome, PartMeta, footer_metadata, read_footer, read_footer_file
from pipelines.parts.layout import DATA, part_name
from pipelines.parts.schema import row_group_rows, writer_options
from pipelines.parts.store import Store, storage

__all__ = ["Committed", "Footer", "PartMeta", "commit", "is_committed", "part_name", "read_footer", "recommit"]


@dataclass(frozen=True, slots=True)
class Committed:
    """What became of a commit. ``won`` is False where another attempt's part was there first: success as well.

    ``size_bytes`` and ``sha256`` are those of the file this attempt wrote; 0 and empty where it did not write one.
    """

    name: str
    won: bool
    rows: int
    rejects: int
    size_bytes: int
    sha256: str


class _HashingFile:
    """A file for writing that takes size and SHA-256 of its bytes on the way to the disk."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size = 0

    @property
    def closed(self) -> bool:
        return self._file.closed

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self._file.write(data)
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        """Arrow closes what it writes to; the descriptor is still needed for the sync."""


def is_committed(store: Store, batch: int) -> bool:
    """Whether a batch has its part."""
    return store.exists(part_name(batch))


def commit(
    store: Store, meta: PartMeta, table: pa.Table, rejects: Sequence[Reject], warnings: Sequence[Reject] = ()
) -> Committed:
    """Write a batch's rejects, then its rows, if no attempt has done so before.

    Raises InfrastructureError where the storage fails; nothing is committed then and the batch may be tried again.
    """
    name = part_name(meta.batch)
    _check_count(meta, table, rejects)
    if is_committed(store, meta.batch):
        store.settle(DATA)  # the caller relies on the part, and who made it may not have come to this
        return Committed(name, False, table.num_rows, len(rejects), 0, "")
    outcome = _outcome(store, meta, table, rejects, warnings, committed_unix_s=time.time())
    quarantine_file = outcome.quarantine
    temporary = store.new_temporary()
    try:
        size, sha256 = _write_part(temporary, table, footer_metadata(meta, outcome))
        _check_part(temporary, meta, table.schema)
        won = store.publish(temporary, name)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    if won:
        receipts.write(store, meta.batch, size, sha256)
    elif quarantine_file and read_footer(store, meta.batch).quarantine != quarantine_file:
        store.remove(quarantine_file)
    return Committed(name, won, table.num_rows, len(rejects), size, sha256)


def recommit(
    store: Store,
    before: Footer,
    meta: PartMeta,
    table: pa.Table,
    rejects: Sequence[Reject],
    warnings: Sequence[Reject] = (),
) -> None:
    """Put a replayed part in the place of the one with the footer ``before``, in one step; for the folder's holder.

    The new quarantine file comes first, the old one goes last: whatever part is there, the file it names is there too.
    No receipt is left: the seal takes the digest of a part that was rewritten from the part. Raises
    InfrastructureError where the storage fails; the part is the old one or the new one then.
    """
    _check_count(meta, table, rejects)
    # Not the time of this step: the intervals of a run's parts are those in which its workers worked.
    outcome = _outcome(store, meta, table, rejects, warnings, committed_unix_s=before.committed_unix_s)
    temporary = store.new_temporary()
    try:
        _write_part(temporary, table, footer_metadata(meta, outcome))
        _check_part(temporary, meta, table.schema)
        store.replace_by(temporary, part_name(meta.batch))
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    if before.quarantine and before.quarantine != outcome.quarantine:
        store.remove(before.quarantine)


def _check_count(meta: PartMeta, table: pa.Table, rejects: Sequence[Reject]) -> None:
    if table.num_rows + len(rejects) != meta.count:
        message = f"batch {meta.batch}: {table.num_rows} rows and {len(rejects)} rejects of {meta.count} documents"
        raise PenstockError(f"{message}: this is a bug.")


def _outcome(
    store: Store,
    meta: PartMeta,
    table: pa.Table,
    rejects: Sequence[Reject],
    warnings: Sequence[Reject],
    *,
    committed_unix_s: float,
) -> Outcome:
    """Write the batch's quarantine file, if it has something to write; what the part's footer says about both."""
    evidence = [*rejects, *warnings]
    quarantine_file, quarantine_sha256 = quarantine.write(store, meta.batch, evidence) if evidence else ("", "")
    return Outcome(
        rows=table.num_rows,
        rejects=len(rejects),
        warnings=len(warnings),
        committed_unix_s=committed_unix_s,
        rejects_by_reason=Counter(str(reject.reason) for reject in rejects),
        quarantine=quarantine_file,
        quarantine_sha256=quarantine_sha256,
    )


def _write_part(path: Path, table: pa.Table, metadata: dict[bytes, bytes]) -> tuple[int, str]:
    with storage("write", path), path.open("xb") as file:
        hashing = _HashingFile(file)
        with pq.ParquetWriter(hashing, table.schema, **writer_options(table.schema)) as writer:
            if table.num_rows:
                writer.write_table(table, row_group_size=row_group_rows(table))
            writer.add_key_value_metadata(metadata)
        file.flush()
        os.fsync(file.fileno())
    return hashing.size, hashing.digest.hexdigest()


def _check_part(path: Path, meta: PartMeta, schema: pa.Schema) -> None:
    """What was written is read back before anyone else can see it."""
    footer = read_footer_file(path)
    found = (footer.run, footer.batch, footer.first, footer.count, footer.input_digest)
    wanted = (meta.run, meta.batch, meta.first, meta.count, meta.input_digest)
    if found != wanted or footer.file_rows + footer.rejects != meta.count or not footer.schema.equals(schema):
        raise VerificationError(f"the part of batch {meta.batch} reads back otherwise than it was written.")
