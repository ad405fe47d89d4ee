"""Kept values: from what a file holds to what fits the column's type, or a misfit that becomes null.

``pa.array(values, type=kept.field.type)`` rebuilds the column from them exactly.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from pyarrow import types

from pipelines.corpus.arrow_values import ARROW_ERRORS, is_text, python_values
from pipelines.corpus.integers import json_text, parsed
from pipelines.spec import arrow_type

Converter = Callable[[Any], Any]

_INTEGER = re.compile(r"[+-]?[0-9]+")
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_FLOATS: dict[int, type[np.floating[Any]]] = {16: np.float16, 32: np.float32, 64: np.float64}
_LARGEST = {16: 65504.0, 32: 3.4028234663852886e38, 64: float("inf")}


class MisfitError(Exception):
    """A value does not fit its column; it becomes null and a warning."""


def converter(type_name: str, *, textual: bool) -> Converter:
    """The function that makes a value of a column fit its type, or raises MisfitError. It never sees None.

    ``textual``: the source knows only text (CSV); numbers are then parsed, and an empty cell is null unless the
    column is text. Without it a text is never taken for a number. Numbers and booleans in a text column become
    their JSON text; 3.0 fits an integer column and 3 a floating one.
    """
    if type_name == "json":
        return _parsed_json if textual else lambda value: _json_text(unless_bytes(value))
    dtype = arrow_type(type_name)
    if is_text(dtype):
        return _text
    return _from_text(_typed(dtype, textual=textual)) if textual else _typed(dtype, textual=textual)


def _typed(dtype: pa.DataType, *, textual: bool) -> Converter:
    if types.is_boolean(dtype):
        return _boolean
    if types.is_integer(dtype):
        signed = types.is_signed_integer(dtype)
        low = -(2 ** (dtype.bit_width - 1)) if signed else 0
        high = 2 ** (dtype.bit_width - (1 if signed else 0)) - 1
        return lambda value: _integer(value, low, high, textual)
    if types.is_floating(dtype):
        return lambda value: _floating(value, dtype.bit_width, textual)
    return lambda value: _any(value, dtype)


def unless_bytes(value: Any) -> Any:
    """A nested value as it is; bytes stand for one that is not UTF-8. Raises MisfitError."""
    if isinstance(value, bytes):
        raise MisfitError
    return value


def _from_text(convert: Converter) -> Converter:
    def converted(value: Any) -> Any:
        return None if value == "" else convert(value)

    return converted


def _json_text(value: Any) -> str:
    try:
        return json_text(value)
    except orjson.JSONEncodeError as error:
        raise MisfitError from error


def _parsed_json(value: Any) -> str | None:
    try:
        return json_text(parsed(value)) if value != "" else None
    except orjson.JSONDecodeError as error:
        raise MisfitError from error


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return _json_text(value)
    raise MisfitError


def _boolean(value: Any) -> bool:
    result = _BOOLEANS.get(value.lower()) if isinstance(value, str) else value
    if isinstance(result, bool):
        return result
    raise MisfitError


def _integer(value: Any, low: int, high: int, textual: bool) -> int:
    digits = textual and isinstance(value, str) and len(value) < 40 and _INTEGER.fullmatch(value)
    if digits or (isinstance(value, float) and value.is_integer()):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return value
    raise MisfitError


def _floating(value: Any, bits: int, textual: bool) -> float:
    if isinstance(value, bool) or not isinstance(value, (str, int, float) if textual else (int, float)):
        raise MisfitError
    try:
        result = float(value)
    except (ValueError, OverflowError) as error:
        raise MisfitError from error
    if _LARGEST[bits] < abs(result) < float("inf"):
        raise MisfitError
    return float(_FLOATS[bits](result))  # rounded here, so that a value read back from its column is the same


def _any(value: Any, dtype: pa.DataType) -> Any:
    try:
        scalar = pa.scalar(value).cast(dtype) if isinstance(value, str) else pa.scalar(value, dtype)
        return python_values(pa.array([scalar], dtype))[0]
    except ARROW_ERRORS as error:
        raise MisfitError from error
