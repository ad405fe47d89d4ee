"""JSON whose integers keep all their digits: orjson reads those beyond 64 bits as floats, and cannot write them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from pipelines.corpus.depth import MAX_DEPTH, too_deep

_FIRST_INEXACT = 2.0**63
_MANY_DIGITS = re.compile(r"[0-9]{19}")
_CONTAINERS = (dict, list)


def exactly(values: dict[str, Any], columns: Iterable[str], raw: bytes, encoding: str | None) -> dict[str, Any]:
    """What orjson made of a line, or the line read again where one of these columns may have lost digits.

    ``encoding`` None is UTF-8. The line was parsed before: it is known to be valid and not too deep.
    """
    for column in columns:
        value = values.get(column)
        kind = type(value)
        # mypy does not see that it is a float here
        if (kind is float and abs(value) >= _FIRST_INEXACT) or kind in _CONTAINERS:  # type: ignore[arg-type]
            text = raw.decode(encoding or "utf-8")
            return dict(json.loads(text)) if _MANY_DIGITS.search(text) else values
    return values


def json_text(value: Any) -> str:
    """A value as JSON, whatever the size of its integers. Raises orjson.JSONEncodeError for what is no JSON value."""
    try:
        return orjson.dumps(value, default=str).decode()
    except orjson.JSONEncodeError as error:
        if "64-bit" not in str(error):
            raise
        return json.dumps(value, default=str, ensure_ascii=False, separators=(",", ":"))


def parsed(text: str) -> Any:
    """The value of a JSON text. Raises orjson.JSONDecodeError, also where it nests too deep to be written again."""
    value: Mapping[str, Any] | Any = orjson.loads(text)
    if too_deep(text, value):
        raise orjson.JSONDecodeError(f"it nests arrays and objects over {MAX_DEPTH} deep", "", 0)
    return json.loads(text) if _MANY_DIGITS.search(text) else value
