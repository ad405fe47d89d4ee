"""Kept columns: what the user asks for, and the types that JSON values suggest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipelines.errors import UsageError
from pipelines.spec import arrow_type

_INT64 = range(-(2**63), 2**63)
_ALONE = {"bool": "bool", "int": "int64", "float": "double", "str": "string"}
"""What Python calls a type, and the Arrow type that holds it; Arrow's own ``float`` is ``float32`` here."""


@dataclass(frozen=True, slots=True)
class KeepOption:
    """A column to keep, as asked for; ``type`` and ``name`` are None where the column's own are meant."""

    column: str
    type: str | None = None
    name: str | None = None


def parse_keep(text: str) -> KeepOption:
    """``COL[:TYPE][=NAME]`` as values. The last ``=`` and the last ``:`` before it count.

    TYPE is ``json``, ``int``, ``float``, ``str`` or ``bool`` as in Python, or a name of an Arrow type such as
    ``int64``, ``double``, ``string``, ``date32`` or ``timestamp[us]``. Raises UsageError.
    """
    column, equals, name = text.rpartition("=") if "=" in text else (text, "", "")
    head, colon, type_name = column.rpartition(":")
    if colon:
        column = head
    if not column or (equals and not name) or (colon and not type_name):
        raise UsageError(f"--keep {text!r} is not COL[:TYPE][=NAME].", "For example: --keep year:int32=published")
    type_name = _ALONE.get(type_name, type_name)
    if colon and not _is_type(type_name):
        raise UsageError(
            f"--keep {text!r}: {type_name!r} is not a type.",
            "Use json, str, bool, int, float, int32, float32, date32, timestamp[us] or another Arrow type; "
            "a column whose name holds a colon needs its type after it.",
        )
    return KeepOption(column, type_name if colon else None, name if equals else None)


def _is_type(name: str) -> bool:
    try:
        arrow_type(name)
    except ValueError:
        return False
    return not name.startswith("arrow:")


def json_kind(value: Any) -> str:
    """What a JSON value suggests for its column: bool, int, float, str, other, or nothing (null)."""
    if value is None:
        return ""
    kind = type(value).__name__
    if kind == "int" and value not in _INT64:
        return "other"
    return kind if kind in _ALONE else "other"


def json_type(kinds: set[str]) -> str:
    """The type of a column with values of these kinds. Mixed, nested and all-null columns are kept as JSON text."""
    kinds = kinds - {""}
    if kinds == {"int", "float"}:
        return "double"
    return _ALONE[next(iter(kinds))] if len(kinds) == 1 and "other" not in kinds else "json"
