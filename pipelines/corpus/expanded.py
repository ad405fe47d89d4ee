"""How large Arrow values become when every row has its own: a few bytes can say "a million times this megabyte".

Dictionaries, run ends and views let many rows share one value; Python values share nothing.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from pipelines.corpus.arrow_values import is_bytes, is_text


def shares(dtype: pa.DataType) -> bool:
    """Whether values of this type may be said once and used often."""
    if isinstance(dtype, pa.BaseExtensionType):
        return shares(dtype.storage_type)
    return bool(
        types.is_dictionary(dtype)
        or types.is_run_end_encoded(dtype)
        or types.is_string_view(dtype)
        or types.is_binary_view(dtype)
        or types.is_list_view(dtype)
        or types.is_large_list_view(dtype)
        or any(shares(dtype.field(index).type) for index in range(dtype.num_fields))
    )


def expanded_bytes(array: pa.Array) -> int:
    """An upper bound of the bytes of an array's values, each counted as often as it is used."""
    if isinstance(array, pa.ExtensionArray):
        return expanded_bytes(array.storage)
    dtype = array.type
    if not shares(dtype):
        return int(array.nbytes)
    if types.is_dictionary(dtype):
        return _used_bytes(array.dictionary, array.indices)
    if types.is_run_end_encoded(dtype):
        return len(array) * _largest(array.values)
    if types.is_string_view(dtype) or types.is_binary_view(dtype):
        return 16 * len(array) + sum(len(value.as_buffer()) for value in array if value.is_valid)
    if types.is_struct(dtype):
        return sum(map(expanded_bytes, array.flatten()))
    if types.is_list_view(dtype) or types.is_large_list_view(dtype):
        return int(pc.sum(pc.list_value_length(array)).as_py() or 0) * _largest(array.values)
    if types.is_map(dtype):
        sides = (array.keys, array.items)
        return sum(expanded_bytes(pa.ListArray.from_arrays(array.offsets, side).flatten()) for side in sides)
    if types.is_list(dtype) or types.is_large_list(dtype) or types.is_fixed_size_list(dtype):
        return expanded_bytes(array.flatten())
    return len(array) * int(array.get_total_buffer_size())


def _used_bytes(values: pa.Array, indices: pa.Array) -> int:
    if not len(values):
        return 0
    if not (is_text(values.type) or is_bytes(values.type)) or shares(values.type):
        return len(indices) * _largest(values)
    lengths = pc.fill_null(pc.cast(pc.binary_length(values), pa.int64()), 0)
    return int(pc.sum(lengths.take(indices)).as_py() or 0)


def _largest(values: pa.Array) -> int:
    """The bytes of the largest value; of what is neither text nor bytes, those of all values."""
    if (is_text(values.type) or is_bytes(values.type)) and not shares(values.type):
        return int(pc.max(pc.binary_length(values)).as_py() or 0)
    return expanded_bytes(values)
