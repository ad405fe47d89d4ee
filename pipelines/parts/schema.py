"""The columns of the dataset and of the quarantine, and how they are written to Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from pipelines.spec import KeptColumn

ROW_GROUP_ROWS = 65_536
ROW_GROUP_BYTES = 64 * 2**20
"""Of rows with a vector for each token, a group has about so much: readers and writers hold a group in memory."""
QUARANTINE_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("uri", pa.string()),
        pa.field("offset", pa.int64()),
        pa.field("line", pa.int64()),
        pa.field("stage", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("attempts", pa.int32()),
        pa.field("excerpt", pa.string()),
        pa.field("text_sha256", pa.string()),
    ]
)
"""One row per reject or warning; ``offset`` in bytes or rows, ``line`` from 1, ``excerpt`` the start of the text."""


def row_schema(feature_fields: Sequence[pa.Field], kept: Sequence[KeptColumn], *, windows: bool = False) -> pa.Schema:
    """The dataset's columns in order (contract: *The dataset*); ``windows``: they are counted."""
    return pa.schema(
        [
            pa.field("id", pa.string()),
            *feature_fields,
            pa.field("n_tokens", pa.int32()),
            pa.field("n_used", pa.int32()),
            *([pa.field("n_windows", pa.int32())] if windows else []),
            pa.field("input_digest", pa.binary(16)),
            *(column.field for column in kept),
        ]
    )


def writer_options(schema: pa.Schema) -> dict[str, Any]:
    """Options of ``pyarrow.parquet.ParquetWriter`` for rows of this schema.

    Vectors, one in a row or a list of them, and digests: no dictionary and no statistics, which cost time and make
    files of random numbers larger (https://github.com/apache/arrow/issues/49715); the bytes of floats are split into
    streams, which zstd then shrinks by 15 %, or by two thirds where they came from bfloat16. Ids are unique: no
    dictionary either. Lists of strings have one: they are labels, tokens or words.
    """
    split, dictionary, statistics = [], [], []
    for field in schema:
        if pa.types.is_fixed_size_list(field.type) and _is_float(field.type.value_type):
            split.append(f"{field.name}.list.element")
        elif _has_vectors(field.type) and _is_float(field.type.value_type.value_type):
            split.append(f"{field.name}.list.element.list.element")
        elif pa.types.is_list(field.type) and pa.types.is_string(field.type.value_type):
            dictionary.append(f"{field.name}.list.element")
        elif _is_float(field.type):
            split.append(field.name)
            statistics.append(field.name)
        elif not pa.types.is_nested(field.type) and not pa.types.is_fixed_size_binary(field.type):
            statistics.append(field.name)
            if field.name != "id":
                dictionary.append(field.name)
    return {
        "compression": "zstd",
        "compression_level": 1,
        "use_dictionary": dictionary,
        "use_byte_stream_split": split,
        "write_statistics": statistics,
    }


def row_group_rows(table: pa.Table) -> int:
    """How many rows of a table make a group of rows in its file."""
    if not table.num_rows or not any(_has_vectors(field.type) for field in table.schema):
        return ROW_GROUP_ROWS
    fitting: int = table.num_rows * ROW_GROUP_BYTES // table.nbytes
    return max(1, min(ROW_GROUP_ROWS, fitting))


def _has_vectors(dtype: pa.DataType) -> bool:
    """Whether a column has a list of vectors in each row."""
    return bool(pa.types.is_list(dtype) and pa.types.is_fixed_size_list(dtype.value_type))


def _is_float(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_float32(dtype) or pa.types.is_float64(dtype))
