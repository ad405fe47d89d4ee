"""``self|MODEL|NAME=MODEL``: models that are named on the command line, and the names of their columns."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipelines.errors import UsageError
from pipelines.roberta.checkpoint import find
from pipelines.spec import ModelRef

_NAME = re.compile(r"[a-z][a-z0-9_]*")


def named_models(option: str, asked: Sequence[str], model: ModelRef, *, what: str) -> list[tuple[str | None, ModelRef]]:
    """The name (or None) and the checkpoint of each value of an option; ``self`` is the run's own ``model``.

    Raises UsageError where two have one name, calling them ``what``, InputError where there is no such checkpoint.
    """
    found: list[tuple[str | None, ModelRef]] = []
    for text in asked:
        name, source = split_name(option, text)
        if name in [there for there, _ in found]:
            which = f"Two {what} are named {name!r}" if name else f"Two {what} have no name"
            raise UsageError(f"{which}; their columns would collide.", f"Name them: {option} NAME=MODEL.")
        found.append((name, model if source == "self" else find(source)))
    return found


def split_name(option: str, asked: str) -> tuple[str | None, str]:
    """Name (or None) and model of an option's value. Raises UsageError where it is no name, or names no model."""
    name, equals, source = asked.partition("=")
    if not equals or "/" in name:
        return None, asked
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{option} {asked}: {name!r} is no name for columns.",
            "Wanted: a letter, then letters, digits and underscores, all lower case.",
        )
    if not source:
        raise UsageError(f"{option} {asked} names no model.", "Write NAME=MODEL, or NAME=self.")
    return name, source
