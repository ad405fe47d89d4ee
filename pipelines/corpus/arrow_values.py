"""Arrow columns as Python values that rebuild them exactly: times and dates as integers (a ``datetime`` has no ns)."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

ARROW_ERRORS = (pa.ArrowException, ValueError, TypeError, OverflowError, NotImplementedError)
"""What pyarrow raises for values and types that do not go together."""


def legible(schema: pa.Schema) -> pa.Schema:
    """The schema. Raises UnicodeDecodeError where a name in it is not UTF-8, which nobody has checked."""
    waiting = list(schema)
    while waiting:
        field = waiting.pop()
        _ = field.name
        waiting += [field.type.field(index) for index in range(field.type.num_fields)]
    return schema


def is_text(dtype: pa.DataType) -> bool:
    """Whether its values are strings, in any of Arrow's layouts."""
    return bool(types.is_string(dtype) or types.is_large_string(dtype) or types.is_string_view(dtype))


def is_bytes(dtype: pa.DataType) -> bool:
    """Whether its values are bytes, in any of Arrow's layouts."""
    return bool(
        types.is_binary(dtype)
        or types.is_large_binary(dtype)
        or types.is_binary_view(dtype)
        or types.is_fixed_size_binary(dtype)
    )


def plain_type(dtype: pa.DataType) -> pa.DataType:
    """The type that a column of this type is kept as: dictionaries decoded, extension types as their storage."""
    if types.is_dictionary(dtype) or types.is_run_end_encoded(dtype):
        return plain_type(dtype.value_type)
    return plain_type(dtype.storage_type) if isinstance(dtype, pa.BaseExtensionType) else dtype


def plain_array(array: pa.Array) -> pa.Array:
    """An array in its :func:`plain_type`."""
    if isinstance(array, pa.ExtensionArray):
        return plain_array(array.storage)
    if types.is_dictionary(array.type):
        return plain_array(array.dictionary_decode())
    return plain_array(pc.run_end_decode(array)) if types.is_run_end_encoded(array.type) else array


def python_values(array: pa.Array) -> list[Any]:
    """Python values that rebuild a plain array exactly. What is not UTF-8 comes as bytes."""
    if is_text(array.type):
        try:
            return list(array.to_pylist())
        except UnicodeDecodeError:
            return [_decoded(value) for value in array.cast(pa.large_binary()).to_pylist()]
    counted = _counted(array.type)
    if counted != array.type:
        array = array.cast(counted)
    try:
        return list(array.to_pylist())
    except UnicodeDecodeError:
        return [_whole(value) for value in array]


def text_values(array: pa.Array) -> list[Any]:
    """The values of a plain array as texts. Bytes count as text if they are UTF-8: older writers do not mark text."""
    if is_bytes(array.type):
        return [_decoded(value) for value in array.to_pylist()]
    return python_values(array)


def attached_values(array: pa.Array) -> list[Any]:
    """The values of a plain array, with the bytes anywhere in them as texts; what is not UTF-8 comes as bytes."""
    return [_with_texts(value) for value in python_values(array)]


def id_values(array: pa.Array) -> list[Any]:
    """The values of a plain array as ids: times, dates and decimals as Arrow writes them, the rest as it is."""
    if types.is_temporal(array.type) or types.is_decimal(array.type):
        try:
            return list(array.cast(pa.string()).to_pylist())
        except ARROW_ERRORS:
            return python_values(array)
    return text_values(array)


def _whole(value: pa.Scalar) -> Any:
    """A nested value, or the bytes of the first text in it that is not UTF-8: they fit no nested type."""
    try:
        return value.as_py()
    except UnicodeDecodeError as error:
        return error.object


def _with_texts(value: Any) -> Any:
    """A value with its bytes decoded, or those that are not UTF-8."""
    try:
        return _texts_in(value)
    except UnicodeDecodeError as error:
        return error.object


def _texts_in(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list):
        return [_texts_in(item) for item in value]
    return {key: _texts_in(item) for key, item in value.items()} if isinstance(value, dict) else value


def _decoded(value: bytes | None) -> str | bytes | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return value


def _counted(dtype: pa.DataType) -> pa.DataType:
    """The type with every time and date in it replaced by the integer that it is stored as."""
    if types.is_timestamp(dtype) or types.is_duration(dtype) or types.is_time64(dtype) or types.is_date64(dtype):
        return pa.int64()
    if types.is_time32(dtype) or types.is_date32(dtype):
        return pa.int32()
    if types.is_list(dtype):
        return pa.list_(dtype.value_field.with_type(_counted(dtype.value_type)))
    if types.is_large_list(dtype):
        return pa.large_list(dtype.value_field.with_type(_counted(dtype.value_type)))
    if types.is_fixed_size_list(dtype):
        return pa.list_(dtype.value_field.with_type(_counted(dtype.value_type)), dtype.list_size)
    if types.is_struct(dtype):
        return pa.struct([field.with_type(_counted(field.type)) for field in dtype])
    if types.is_map(dtype):
        return pa.map_(
            dtype.key_field.with_type(_counted(dtype.key_type)), dtype.item_field.with_type(_counted(dtype.item_type))
        )
    return dtype
