"""Counts rows whose id was there before, in memory that does not grow with the rows: ids are spread over files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.errors import VerificationError
from pipelines.parts.store import Store, storage

BUCKET_ROWS = 250_000
MAX_BUCKETS = 256  # open files at a time
_SPREAD_ROWS = 65_536  # a step of spreading writes to every file: small parts are gathered for it
_GATHERED_CHUNKS = 256  # a chunk takes 2 kB, however few its rows
_HASHED_ROWS = 8192  # hashing takes about 70 bytes of memory for each byte
_BASE = 0x9E3779B97F4A7C15  # odd, hence invertible modulo 2**64
_SCHEMA = pa.schema([pa.field("id", pa.large_string())])


def count_duplicates(
    store: Store,
    parts: Iterable[str],
    rows: int,
    *,
    bucket_rows: int = BUCKET_ROWS,
    between: Callable[[], None] = lambda: None,
) -> int:
    """How many of the ``rows`` in these parts have an id that another row has already.

    All rows of one id end up in the same bucket, so buckets can be counted one by one. ``between`` is called at every
    part and every piece of a bucket: what it raises ends the count. Raises InfrastructureError
    where the storage fails; damaged parts must have been found before.
    """
    return _count(store, _gathered(_ids(store, parts), between), rows, bucket_rows, between, spread_by=1)


def _count(
    store: Store, ids: Iterable[pa.Array], rows: int, bucket_rows: int, between: Callable[[], None], *, spread_by: int
) -> int:
    buckets = min(MAX_BUCKETS, -(-rows // bucket_rows))
    if buckets <= 1:
        return _duplicates(ids)
    paths = [store.new_temporary() for _ in range(buckets)]
    try:
        with storage("write", paths[0].parent):
            counts = _spread(ids, paths, spread_by)
        found = 0
        for path, count in zip(paths, counts, strict=True):
            there = _gathered(_stored(path), between)
            if spread_by == 1 and count > 2 * bucket_rows:
                found += _count(store, there, count, bucket_rows, between, spread_by=buckets)
            else:  # what was spread twice and is still too large has few ids, many times
                found += _duplicates(there)
            with storage("remove", path):
                path.unlink()
        return found
    finally:
        for path in paths:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def _ids(store: Store, parts: Iterable[str]) -> Iterator[pa.Array]:
    """Raises VerificationError where a part's ids cannot be read: its size may be right, and its bytes not."""
    for name in parts:
        with store.open(name) as file:
            try:
                for batch in pq.ParquetFile(file).iter_batches(columns=["id"]):
                    yield batch.column(0).cast(pa.large_string())
            except (pa.ArrowException, OSError, KeyError, ValueError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise  # the disk's; Arrow's own, for what it cannot decode, has no number
                reason = " ".join(str(error).split())[:200]
                raise VerificationError(
                    f"{store.root / name} is damaged: {reason}.", "Remove it, then `penstock resume` makes it again."
                ) from error


def _gathered(chunks: Iterable[pa.Array], between: Callable[[], None]) -> Iterator[pa.Array]:
    waiting: list[pa.Array] = []
    rows = 0
    for chunk in chunks:
        between()
        waiting.append(chunk)
        rows += len(chunk)
        if rows >= _SPREAD_ROWS or len(waiting) >= _GATHERED_CHUNKS:
            yield pa.concat_arrays(waiting)
            waiting, rows = [], 0
    if waiting:
        yield pa.concat_arrays(waiting)


def _spread(ids: Iterable[pa.Array], paths: list[Path], spread_by: int) -> list[int]:
    """Write each id to the file of its bucket; returns how many went to each. ``spread_by``: buckets of before."""
    counts = np.zeros(len(paths), np.int64)
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(path.open("wb")) for path in paths]
        writers = [stack.enter_context(pa.ipc.new_stream(file, _SCHEMA)) for file in files]
        for chunk in ids:
            pieces = [hash_strings(chunk.slice(start, _HASHED_ROWS)) for start in range(0, len(chunk), _HASHED_ROWS)]
            bucket = np.concatenate(pieces) // np.uint64(spread_by) % np.uint64(len(paths))
            order = np.argsort(bucket, kind="stable")
            bounds = np.searchsorted(bucket[order], np.arange(len(paths) + 1, dtype=np.uint64))
            counts += np.diff(bounds)
            ordered = chunk.take(pa.array(order))
            for number, writer in enumerate(writers):
                begin, end = int(bounds[number]), int(bounds[number + 1])
                if end > begin:
                    writer.write_batch(pa.record_batch([ordered.slice(begin, end - begin)], schema=_SCHEMA))
    return counts.tolist()


def _stored(path: Path) -> Iterator[pa.Array]:
    with storage("read", path), path.open("rb") as file:
        for batch in pa.ipc.open_stream(file):
            yield batch.column(0)


def _duplicates(chunks: Iterable[pa.Array]) -> int:
    rows = waiting = 0
    seen = pa.array([], pa.large_string())
    pending: list[pa.Array] = []
    for chunk in chunks:
        pending.append(chunk)
        rows += len(chunk)
        waiting += len(chunk)
        if waiting >= BUCKET_ROWS:
            seen, pending, waiting = pc.unique(pa.chunked_array([seen, *pending])), [], 0
    return rows - len(pc.unique(pa.chunked_array([seen, *pending])))


def hash_strings(strings: pa.Array) -> npt.NDArray[np.uint64]:
    """A 64-bit hash of each string, a polynomial over its bytes: good enough to spread, not to tell apart.

    With prefix sums S of byte·base**position, a string's own sum is S[end] - S[begin], shifted back by base**-begin.

    *Shape:* ``[strings]`` of ``large_string`` without nulls → ``[strings]``.
    """
    _, offset_buffer, data_buffer = strings.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[strings.offset : strings.offset + len(strings) + 1]
    data = np.frombuffer(data_buffer or b"", np.uint8)[offsets[0] : offsets[-1]]
    begin, end = offsets[:-1] - offsets[0], offsets[1:] - offsets[0]
    powers = np.full(len(data) + 1, _BASE, np.uint64)
    shifts = np.full(len(data) + 1, pow(_BASE, -1, 2**64), np.uint64)
    powers[0] = shifts[0] = 1
    np.multiply.accumulate(powers, out=powers)
    np.multiply.accumulate(shifts, out=shifts)
    sums = np.zeros(len(data) + 1, np.uint64)
    np.cumsum((data.astype(np.uint64) + np.uint64(1)) * powers[:-1], out=sums[1:])
    value = (sums[end] - sums[begin]) * shifts[begin]
    # The low bits of such a sum depend on little; mix the high ones in.
    value = (value ^ (value >> np.uint64(32))) * np.uint64(_BASE)
    mixed: npt.NDArray[np.uint64] = value ^ (value >> np.uint64(29))
    return mixed
