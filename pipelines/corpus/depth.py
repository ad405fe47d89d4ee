"""How deep JSON may nest: what parses it has a limit of its own, what walks or writes its values later may recurse."""

from __future__ import annotations

from typing import Any

MAX_DEPTH = 64
"""Arrays and objects within each other, the outermost included."""

_CONTAINERS = (dict, list)


def too_deep(raw: bytes | str, values: Any) -> bool:
    """Whether a parsed JSON text nests over MAX_DEPTH deep. It is looked at level by level, without recursion."""
    if type(values) is dict:
        for value in values.values():
            if type(value) in _CONTAINERS:
                break
        else:
            return False
    opened = raw.count("[") + raw.count("{") if isinstance(raw, str) else raw.count(b"[") + raw.count(b"{")
    if opened <= MAX_DEPTH:
        return False
    level = [values]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for value in level
            for child in (value.values() if type(value) is dict else value if type(value) is list else ())
            if type(child) in _CONTAINERS
        ]
        if not level:
            return False
    return True
