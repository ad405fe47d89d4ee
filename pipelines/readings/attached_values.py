"""What travels with a document for a feature: values of other columns, as the corpus put them into its pair."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from pipelines.documents import Document
from pipelines.errors import DocumentError

_KINDS = {bool: "a boolean", int: "a number", float: "a number", list: "an array", dict: "an object"}


def attached_values(document: Document) -> Mapping[str, Any]:
    """The values by role (:class:`pipelines.spec.Role`); what the document had no value for is None."""
    values: Mapping[str, Any] = orjson.loads(document.pair) if document.pair else {}
    return values


def text_list(value: Any, what: str) -> list[str]:
    """Texts from a value: an array of texts, or of objects with a ``text`` each, or an object with an array ``text``,
    or one of these as JSON.

    Raises DocumentError where it is something else, or has none; ``what`` says what the texts are.
    """
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            found = "text that is no JSON" if value.strip() else "an empty text"
            raise DocumentError(f"The {what} are {found}, wanted a list of texts.") from error
    if isinstance(value, dict):
        value = value.get("text")
    if value == []:
        raise DocumentError(f"The {what} are an empty list, wanted at least one text.")
    if not isinstance(value, list):
        found = "null or missing" if value is None else _KINDS.get(type(value), "text")
        raise DocumentError(f"The {what} are {found}, wanted a list of texts.")
    texts = []
    for number, item in enumerate(value, start=1):
        text = item.get("text") if isinstance(item, dict) else item
        if not isinstance(text, str):
            found = "null" if text is None else _KINDS.get(type(text), type(text).__name__)
            raise DocumentError(f"Number {number} of the {what} is {found}, wanted a text.")
        texts.append(text)
    return texts


def text_or_none(value: Any, what: str) -> str | None:
    """A text, or None where there is none. Raises DocumentError where it is something else."""
    if value is None or isinstance(value, str):
        return value
    raise DocumentError(f"The {what} is {_KINDS.get(type(value), type(value).__name__)}, wanted a text.")
