"""Vectors as columns of the dataset, in any of the ways they are stored, and back to numbers. No torch here."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.errors import InputError
from pipelines.spec import Storage

Vectors = npt.NDArray[np.float32]
SCALE = "_scale"
INT8_LARGEST = 127
FLOAT16_LARGEST = float(np.finfo(np.float16).max)
_TYPES = {Storage.FLOAT32: pa.float32(), Storage.FLOAT16: pa.float16(), Storage.INT8: pa.int8()}


def vector_fields(name: str, width: int, storage: Storage) -> list[pa.Field]:
    """The columns of vectors of ``width`` numbers: ``name``, and ``name_scale`` where they need one."""
    if storage is Storage.BINARY:
        return [pa.field(name, pa.list_(pa.uint8(), width // 8))]
    fields = [pa.field(name, pa.list_(_TYPES[storage], width))]
    return [*fields, pa.field(name + SCALE, pa.float32())] if storage.has_scale else fields


def vector_columns(vectors: Vectors, storage: Storage) -> list[pa.Array]:
    """The values of the columns of :func:`vector_fields`. *Shape:* vectors ``[documents, width]``.

    A number beyond float16's largest is stored as that.
    """
    if storage is Storage.FLOAT32:
        return [_lists(vectors, pa.float32())]
    if storage is Storage.FLOAT16:
        halves = np.clip(vectors, -FLOAT16_LARGEST, FLOAT16_LARGEST).astype(np.float16)
        return [_lists(halves, pa.float16())]
    if storage is Storage.BINARY:
        return [_lists(np.packbits(vectors > 0, axis=1), pa.uint8())]
    scales = np.abs(vectors).max(axis=1) / np.float32(INT8_LARGEST)
    steps = np.divide(vectors, scales[:, None], out=np.zeros_like(vectors), where=scales[:, None] > 0)
    return [_lists(np.rint(steps).astype(np.int8), pa.int8()), pa.array(scales, pa.float32())]


def vector_list_type(width: int, storage: Storage) -> pa.DataType:
    """The type of a column with any number of vectors in each row; they are stored as float32 or float16."""
    return pa.list_(pa.list_(_TYPES[storage], width))


def vector_lists(vectors: Sequence[Vectors], storage: Storage) -> pa.Array:
    """The values of such a column, stored as :func:`vector_columns` does. *Shape:* vectors ``[rows][count, width]``."""
    (flat,) = vector_columns(np.concatenate(vectors), storage)
    return pa.ListArray.from_arrays(offsets_of(vectors), flat, type=vector_list_type(flat.type.list_size, storage))


def offsets_of(lists: Sequence[Sized]) -> pa.Array:
    """Where each of several lists begins and ends in a column, laid one after the other."""
    return pa.array(np.cumsum([0, *map(len, lists)], dtype=np.int32))


def dequantize(table: pa.Table | pa.RecordBatch, column: str = "embedding") -> Vectors:
    """The vectors of a column as float32, however they are stored, from what the table itself says.

    int8 needs the column's scales in the table too. Of bits it makes 1 and -1. *Shape:* ``[rows, width]``. Raises
    InputError where the column or its scales are not there, once, or it holds no vectors, naming the columns that do.
    """
    values = _column(table, column)
    kind = values.type
    if not _holds_vectors(kind):
        raise InputError(f"Column {column!r} is of type {kind}, wanted lists of one size.", _other_vectors(table))
    numbers = values.flatten().to_numpy(zero_copy_only=False).reshape(len(values), kind.list_size)
    if pa.types.is_uint8(kind.value_type):
        return np.unpackbits(numbers, axis=1).astype(np.float32) * 2 - 1
    if pa.types.is_int8(kind.value_type):
        scales = _column(table, column + SCALE).to_numpy(zero_copy_only=False)
        return cast("Vectors", numbers.astype(np.float32) * scales[:, None].astype(np.float32))
    return cast("Vectors", numbers.astype(np.float32))


def _column(table: pa.Table | pa.RecordBatch, name: str) -> pa.Array:
    if not isinstance(table, pa.Table | pa.RecordBatch):
        raise InputError(
            f"The table is of type {type(table).__name__}, wanted one of pyarrow.", "Give pq.read_table(…)."
        )
    count = table.schema.names.count(name)
    if count != 1:
        found = f"{count} columns {name!r}" if count else f"no column {name!r}"
        if name.endswith(SCALE) and name.removesuffix(SCALE) in table.schema.names:
            raise InputError(f"The table has {found}, the scales of its int8.", "Read that column too.")
        raise InputError(f"The table has {found}.", _other_vectors(table))
    values = table[name]
    return values.combine_chunks() if isinstance(table, pa.Table) else values


def _holds_vectors(kind: pa.DataType) -> bool:
    if not pa.types.is_fixed_size_list(kind):
        return False
    value = kind.value_type
    return bool(pa.types.is_uint8(value) or pa.types.is_int8(value) or pa.types.is_floating(value))


def _other_vectors(table: pa.Table | pa.RecordBatch) -> str:
    """What to pass instead, or what there is where nothing of it holds vectors."""
    names = [field.name for field in table.schema if _holds_vectors(field.type)]
    if names:
        found = ", ".join(names)
        return f"Columns with a list of numbers in each row are {found}: name one, dequantize(table, {names[0]!r})."
    return f"No column has any, there are: {', '.join(table.schema.names) or 'none'}."


def normalized(vectors: Vectors) -> Vectors:
    """The same directions with length 1; a vector of zeros stays as it is. *Shape:* ``[documents, width]``."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return cast("Vectors", vectors / np.where(lengths > 0, lengths, np.float32(1)))


def _lists(numbers: npt.NDArray[Any], value_type: pa.DataType) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(numbers).reshape(-1), value_type)
    return pa.FixedSizeListArray.from_arrays(flat, type=pa.list_(value_type, numbers.shape[1]))
