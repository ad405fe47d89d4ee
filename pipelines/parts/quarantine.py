"""Rejects and warnings as Parquet, one file per batch and attempt, named by its bytes; a part says which one counts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.documents import Origin, Reason, Reject, Stage
from pipelines.errors import BatchError, VerificationError
from pipelines.parts.footer import parquet_metadata, read_footer
from pipelines.parts.layout import DATA, batch_of_part, quarantine_name
from pipelines.parts.schema import QUARANTINE_SCHEMA
from pipelines.parts.store import Store


def to_table(rejects: Sequence[Reject]) -> pa.Table:
    """Rejects as rows of the quarantine; what cannot be UTF-8 is escaped."""
    columns: dict[str, list[Any]] = {name: [] for name in QUARANTINE_SCHEMA.names}
    for reject in rejects:
        row = (
            reject.id,
            *reject.origin,
            str(reject.stage),
            str(reject.reason),
            reject.detail,
            reject.attempts,
            reject.excerpt,
            reject.text_sha256,
        )
        for column, value in zip(columns.values(), row, strict=True):
            column.append(as_stored(value) if isinstance(value, str) else value)
    return pa.table(columns, schema=QUARANTINE_SCHEMA)


def as_stored(text: str) -> str:
    """A text as the quarantine has it: what cannot be UTF-8 is escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def from_table(table: pa.Table) -> Iterator[Reject]:
    """The way back from :func:`to_table`. Raises ValueError for stages and reasons that there are not."""
    for row in table.to_pylist():
        yield Reject(
            id=row["id"],
            origin=Origin(row["uri"], row["offset"], row["line"]),
            stage=Stage(row["stage"]),
            reason=Reason(row["reason"]),
            detail=row["detail"],
            attempts=row["attempts"],
            excerpt=row["excerpt"],
            text_sha256=row["text_sha256"],
        )


def write(store: Store, batch: int, rejects: Sequence[Reject]) -> tuple[str, str]:
    """Put a batch's rejects and warnings; the same ones twice are one file. Returns its name and hex SHA-256.

    Raises BatchError where other bytes have that name.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(to_table(rejects), sink, compression="zstd", compression_level=1)
    data = sink.getvalue().to_pybytes()
    sha256 = hashlib.sha256(data).hexdigest()
    name = quarantine_name(batch, sha256)
    while not store.put_if_absent(name, data):
        there = store.read_if_present(name)
        if there == data:
            break
        # None: another attempt with the same rejects lost its race just now and took its evidence back.
        if there is not None:
            raise BatchError(f"{store.root / name} holds something else than its name says.", "Remove it, then resume.")
    return name, sha256


def count_rows(store: Store, name: str) -> int:
    """Rows of a quarantine file, from its footer. Raises VerificationError where it is missing or damaged."""
    if not store.exists(name):
        raise VerificationError(f"{store.root / name} is missing.")
    metadata, schema = parquet_metadata(store.path(name))
    if not schema.equals(QUARANTINE_SCHEMA):
        raise VerificationError(f"{store.root / name} has other columns than a quarantine file.")
    return int(metadata.num_rows)


def read(store: Store, name: str) -> Iterator[Reject]:
    """The rows of one quarantine file. Raises VerificationError where it is missing or damaged."""
    count_rows(store, name)
    try:
        yield from from_table(pq.read_table(store.path(name), schema=QUARANTINE_SCHEMA))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise VerificationError(f"{store.root / name} is damaged: {error}.") from error


def read_run(store: Store) -> Iterator[tuple[int, Reject]]:
    """Batch and reject of everything a run has in quarantine, warnings included: only files that a part names."""
    for file_name in store.list(DATA):
        batch = batch_of_part(file_name)
        if batch is None:
            continue
        footer = read_footer(store, batch)
        if footer.quarantine:
            for reject in read(store, footer.quarantine):
                yield batch, reject
