"""Record batches of an Arrow file or stream from a row on. A file cut short is used as the stream that it contains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from pipelines.corpus.arrow_messages import BadMessageError, check_blocks, check_next_batch
from pipelines.corpus.arrow_values import is_text, legible
from pipelines.corpus.bombs import rows_fault
from pipelines.corpus.evidence import DamagedFile
from pipelines.corpus.parquet_batches import DAMAGE, damage, surroundings
from pipelines.corpus.regular import check_regular

MAGIC = b"ARROW1"
_STREAM_BEGINS = 8
"""After the magic and its padding a file holds the stream format (https://arrow.apache.org/docs/format/Columnar.html)."""


def arrow_batches(path: str, columns: Sequence[str], row: int) -> Iterator[pa.RecordBatch]:
    """The rows of a file from ``row`` on, of those columns that it has. Raises DamagedFile after all good batches."""
    before = 0
    try:
        # Read and not mapped: whoever cuts a mapped file short kills the process that looks at it (SIGBUS).
        with _opened(path) as source:
            size = source.size()
            for batch in _all_batches(source, columns):
                if fault := rows_fault(before + batch.num_rows, size):
                    raise DamagedFile(max(row, before), 0, fault)
                skip = max(0, row - before)
                if skip < batch.num_rows:
                    yield _checked(batch.slice(skip) if skip else batch)
                before += batch.num_rows
    except DAMAGE as error:
        raise damage(error, max(row, before)) from error


def arrow_schema(path: str) -> pa.Schema | None:
    """The schema of a file or stream, or None where it cannot be read."""
    try:
        with _opened(path) as source:
            return legible(_open_stream(source, None).schema)
    except DAMAGE as error:
        surroundings(error)
        return None


def _opened(path: str) -> Any:
    check_regular(path)
    return pa.OSFile(path, "rb")


def _all_batches(source: Any, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    schema = _open_stream(source, None).schema
    names = schema.names
    fields = [index for index, name in enumerate(names) if name in columns]
    # No field at all would mean every field; one is enough to count the rows.
    options = pa.ipc.IpcReadOptions(included_fields=fields or [0] if names else None)
    if not _is_file(source):
        yield from _streamed(source, options)
        return
    try:
        file = pa.ipc.open_file(source, options=options)
        if pa.ipc.open_file(source).schema != schema:
            # Columns were looked up in the one, and rows would come by the other.
            raise BadMessageError("its footer has other columns than its beginning")
        for _ in check_blocks(source, dictionaries=True):
            pass
    except BadMessageError:
        raise
    except DAMAGE as error:
        surroundings(error)
        yield from _streamed(source, options)
        raise pa.ArrowInvalid("the file ends before its footer") from error
    for index, _ in enumerate(check_blocks(source, dictionaries=False)):
        yield file.get_batch(index)


def _streamed(source: Any, options: Any) -> Iterator[pa.RecordBatch]:
    stream = _open_stream(source, options)
    while True:
        check_next_batch(source)
        try:
            yield stream.read_next_batch()
        except StopIteration:
            return


def _is_file(source: Any) -> bool:
    source.seek(0)
    return bool(source.read(len(MAGIC)) == MAGIC)


def _open_stream(source: Any, options: Any) -> Any:
    source.seek(_STREAM_BEGINS if _is_file(source) else 0)
    return pa.ipc.open_stream(source, options=options)


def _checked(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch, its offsets and indices checked: Arrow trusts them, and a wrong one would read foreign memory."""
    for column in batch.columns:
        checked = column
        if is_text(column.type) and not pa.types.is_string_view(column.type):
            # Text that is not UTF-8 is the fault of a document, not of the file.
            checked = column.view(pa.binary() if pa.types.is_string(column.type) else pa.large_binary())
        checked.validate(full=True)
    return batch
