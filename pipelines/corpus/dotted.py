"""Columns within columns: ``question.stem`` is what object ``question`` has as ``stem``, where no column is called so.

A column of that very name comes first: nothing changes for who has one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from pipelines.corpus.arrow_values import plain_array, plain_type

_NOTHING = object()


def dotted(names: Iterable[str]) -> tuple[str, ...]:
    """Of some names those that may lead into a column, each once."""
    return tuple(dict.fromkeys(name for name in names if "." in name))


def with_heads(names: Iterable[str]) -> list[str]:
    """Names of columns, and those of the columns that a dotted one may lead into, each once."""
    return list(dict.fromkeys(way for name in names for way in (name, name.partition(".")[0])))


def with_dotted(values: Mapping[str, Any], names: Iterable[str]) -> Mapping[str, Any]:
    """The values of a row, and those that dotted names lead to."""
    found = {name: value for name in names if name not in values and (value := _inside(values, name)) is not _NOTHING}
    return {**values, **found} if found else values


def dotted_arrays(columns: Mapping[str, pa.Array], names: Iterable[str]) -> dict[str, pa.Array]:
    """The arrays that dotted names lead to in plain columns; null where a struct on the way is."""
    found = {}
    for name in names:
        head, *keys = name.split(".")
        array = columns.get(head) if name not in columns else None
        for key in keys:
            if array is None or not types.is_struct(array.type) or array.type.get_field_index(key) < 0:
                array = None
                break
            array = plain_array(pc.struct_field(array, key))
        if array is not None:
            found[name] = array
    return found


def dotted_type(schema: pa.Schema, name: str) -> pa.DataType | None:
    """The type of what a dotted name leads to, or None where it leads nowhere."""
    head, *keys = name.split(".")
    index = schema.get_field_index(head)
    dtype = plain_type(schema.field(index).type) if index >= 0 else None
    for key in keys:
        if dtype is None or not types.is_struct(dtype) or dtype.get_field_index(key) < 0:
            return None
        dtype = plain_type(dtype.field(key).type)
    return dtype


def _inside(values: Mapping[str, Any], name: str) -> Any:
    value: Any = values
    for key in name.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return _NOTHING
        value = value[key]
    return value
