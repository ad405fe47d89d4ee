"""Batch bodies: documents travel through Redis under their own key (claim check), the message carries two ids.

A body is an Arrow IPC stream (zstd buffers) of one record batch: a row per item, in corpus order. Columns that only
documents or only rejects have are null for the others. The batch's numbers, cursors and warnings are its metadata.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from typing import Any, cast

import pyarrow as pa
import redis

from pipelines.corpus.arrow_messages import check_next_batch
from pipelines.corpus.arrow_values import python_values
from pipelines.documents import Batch, Cursor, Document, Origin, Reason, Reject, Stage, items_digest
from pipelines.errors import BatchError, RunError
from pipelines.parts.plan import PlanEntry
from pipelines.spec import KeptColumn
from tasks.client import redis_faults
from tasks.keys import body_key

MAX_BODY_BYTES = 512 * 2**20
"""Redis takes no larger string."""
MAX_DECODED_BYTES = 2 * 2**30
"""What a body may become when it is decompressed; the text of a batch is 32 MB, kept columns may be more."""

_ITEM = pa.schema(
    [
        pa.field("id", pa.large_string()),
        pa.field("text", pa.large_string()),
        pa.field("pair", pa.large_string()),
        pa.field("uri", pa.dictionary(pa.int32(), pa.string())),
        pa.field("offset", pa.int64()),
        pa.field("line", pa.int64()),
        pa.field("reject", pa.string()),
    ]
)
_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")
# As Document._make does it, but for its check of the length: a third of the time of decoding goes into these two.
_document = functools.partial(tuple.__new__, Document)
_origin = functools.partial(tuple.__new__, Origin)


def encode(batch: Batch, keep: Sequence[KeptColumn]) -> bytes:
    """A batch as bytes. Raises RunError where they are more than Redis takes."""
    items = batch.items
    documents = [item if isinstance(item, Document) else None for item in items]
    columns = [
        pa.array([item.id for item in items], pa.large_string()),
        pa.array([document.text if document else None for document in documents], pa.large_string()),
        pa.array([document.pair if document else None for document in documents], pa.large_string()),
        pa.array([item.origin.uri for item in items], pa.string()).dictionary_encode(),
        pa.array([item.origin.offset for item in items], pa.int64()),
        pa.array([item.origin.line for item in items], pa.int64()),
        pa.array([_pack(item) if isinstance(item, Reject) else None for item in items], pa.string()),
    ]
    schema = _schema(keep)
    kept_fields = list(schema)[len(_ITEM) :]
    columns += [
        pa.array([document.kept[index] if document else None for document in documents], field.type)
        for index, field in enumerate(kept_fields)
    ]
    header = {
        "number": batch.number,
        "first": batch.first,
        "start": batch.start,
        "end": batch.end,
        "warnings": [[warning.id, *warning.origin, _pack(warning)] for warning in batch.warnings],
    }
    schema = schema.with_metadata({"batch": json.dumps(header)})
    rows = pa.RecordBatch.from_arrays(columns, schema=schema)
    if rows.nbytes > MAX_DECODED_BYTES:
        raise RunError(
            f"Batch {batch.number} takes {rows.nbytes:,} bytes, a worker accepts {MAX_DECODED_BYTES:,}.",
            "Start the run anew with a smaller --batch-docs, or keep fewer columns.",
        )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema, options=_OPTIONS) as writer:
        writer.write_batch(rows)
    body = cast(bytes, sink.getvalue().to_pybytes())
    if len(body) > MAX_BODY_BYTES:
        raise RunError(
            f"Batch {batch.number} takes {len(body):,} bytes in Redis, at most {MAX_BODY_BYTES:,} fit.",
            "Start the run anew with a smaller --batch-docs, or keep fewer columns.",
        )
    return body


def decode(body: bytes, keep: Sequence[KeptColumn]) -> Batch:
    """The batch that :func:`encode` made bytes of, value by value. Raises BatchError for anything else.

    Whoever can write to Redis may have written it: what it becomes is bounded before it is decompressed, and its types
    and offsets are checked before a value is read.
    """
    try:
        return _decode(body, keep)
    except Exception as error:
        raise BatchError(f"A batch body in Redis is damaged: {' '.join(str(error).split())[:200]}.") from error


def check_planned(batch: Batch, entry: PlanEntry) -> None:
    """Raises BatchError where a body's batch is not the one that the plan has under its number."""
    found = (batch.number, batch.first, len(batch.items), batch.start)
    if found != (entry.batch, entry.first, entry.count, entry.start) or items_digest(batch.items) != entry.input_digest:
        raise BatchError(f"The body of batch {entry.batch} in Redis is not what was planned.")


def _schema(keep: Sequence[KeptColumn]) -> pa.Schema:
    return pa.schema([*_ITEM, *(pa.field(f"kept{index}", kept.field.type) for index, kept in enumerate(keep))])


def _bound() -> Callable[[int, int], str]:
    """Adds up what the messages of a body become, and says where that is too much."""
    total = 0

    def fault(becomes: int, _: int) -> str:
        nonlocal total
        total += becomes
        return f"it says that it becomes {total:,} bytes" if total > MAX_DECODED_BYTES else ""

    return fault


def _decode(body: bytes, keep: Sequence[KeptColumn]) -> Batch:
    source = pa.BufferReader(body)
    with pa.ipc.open_stream(source) as reader:
        header = json.loads(reader.schema.metadata[b"batch"])
        if reader.schema.remove_metadata() != _schema(keep):
            raise ValueError("its columns are others")
        check_next_batch(source, _bound())
        rows = reader.read_next_batch()
    rows.validate(full=True)
    id_, text, pair, uri, offset, line, reject = (_values(column) for column in rows.columns[:7])
    # As the readers give them: a date must be the same integer again, since the digest of the items is over it.
    kept_columns = [python_values(column) for column in rows.columns[7:]]
    kept: Sequence[tuple[Any, ...]] = list(zip(*kept_columns, strict=True)) if kept_columns else [()] * len(id_)
    origins = list(map(_origin, zip(uri, offset, line, strict=True)))
    if rows.column(6).null_count == len(rows):
        items: list[Document | Reject] = list(map(_document, zip(id_, text, pair, origins, kept, strict=True)))
    else:
        items = [
            Document(id_[index], text[index], pair[index], origins[index], kept[index])
            if packed is None
            else _unpack(id_[index], origins[index], packed)
            for index, packed in enumerate(reject)
        ]
    warnings = [_unpack(name, Origin(*origin), packed) for name, *origin, packed in header["warnings"]]
    start, end = Cursor(*header["start"]), Cursor(*header["end"])
    return Batch(header["number"], header["first"], items, warnings, start, end)


def _values(column: pa.Array) -> Sequence[Any]:
    """What ``to_pylist`` gives, several times as fast."""
    if pa.types.is_dictionary(column.type) and column.null_count == 0:
        names = column.dictionary.to_pylist()
        return [names[index] for index in column.indices.to_numpy().tolist()]
    if column.null_count == len(column):
        return [None] * len(column)
    if pa.types.is_integer(column.type) and column.null_count:  # numpy would make floats of them
        return cast(list[Any], column.to_pylist())
    return cast(list[Any], column.to_numpy(zero_copy_only=False).tolist())


def _pack(reject: Reject) -> str:
    return json.dumps([reject.stage, reject.reason, reject.detail, reject.attempts, reject.excerpt, reject.text_sha256])


def _unpack(id_: str, origin: Origin, packed: str) -> Reject:
    stage, reason, detail, attempts, excerpt, text_sha256 = json.loads(packed)
    return Reject(id_, origin, Stage(stage), Reason(reason), detail, attempts, excerpt, text_sha256)


class Bodies:
    """The bodies of one run in Redis. Raises InfrastructureError when Redis cannot be reached or refuses."""

    def __init__(self, client: redis.Redis, run: str) -> None:
        self.client = client
        self.run = run

    def put(self, batch: int, body: bytes) -> None:
        """Store a body; the same body again changes nothing."""
        with redis_faults():
            self.client.set(body_key(self.run, batch), body)

    def get(self, batch: int) -> bytes | None:
        """A body, or None where Redis does not have it (any more): it must be refilled from the corpus."""
        with redis_faults():
            return cast("bytes | None", self.client.get(body_key(self.run, batch)))

    def size(self, batch: int) -> int:
        """Bytes of a body; 0 where Redis does not have it."""
        with redis_faults():
            return self.client.strlen(body_key(self.run, batch))

    def drop(self, batch: int) -> None:
        """Forget a body."""
        with redis_faults():
            self.client.unlink(body_key(self.run, batch))
