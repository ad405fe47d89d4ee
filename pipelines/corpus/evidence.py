"""What is kept of a document that cannot be read: its address, the reason, an excerpt and a digest."""

from __future__ import annotations

import hashlib
from typing import Any

from pipelines.documents import EXCERPT_CHARACTERS, Origin, Reason, Reject, Stage
from pipelines.spec import Shard

_DETAIL_CHARACTERS = 300
_HEAD_BYTES = 4 * EXCERPT_CHARACTERS


class DamagedFile(Exception):  # noqa: N818 - a fact about a file, which the reader turns into a reject
    """A file cannot be read on from this place; ``raw`` is what there was of the unfinished item."""

    def __init__(self, offset: int, line: int, detail: str, raw: bytes = b"") -> None:
        super().__init__(detail)
        self.offset = offset
        self.line = line
        self.detail = detail
        self.raw = raw


def made_id(shard: Shard, offset: int) -> str:
    """The id of a document that brings none: name of the file and byte offset (or row)."""
    return f"{shard.name}#{offset}"


def reject_at(
    shard: Shard,
    offset: int,
    line: int,
    reason: Reason,
    detail: str,
    raw: bytes | None = None,
    *,
    id: str | None = None,  # noqa: A002 - the name of the field it fills
    sha256: str | None = None,
    stage: Stage = Stage.READ,
) -> Reject:
    """A reject at an address; ``raw`` are the bytes of the document, ``sha256`` their digest if it is known."""
    if sha256 is None:
        sha256 = "" if raw is None else hashlib.sha256(raw).hexdigest()
    return Reject(
        made_id(shard, offset) if id is None else id,
        Origin(shard.uri, offset, line),
        stage,
        reason,
        shown(printable(detail))[:_DETAIL_CHARACTERS],
        0,
        excerpt(raw or b""),
        sha256,
    )


def excerpt(raw: bytes) -> str:
    """The first characters of some bytes, whatever they are; always encodable as UTF-8."""
    return raw[:_HEAD_BYTES].decode("utf-8", "backslashreplace")[:EXCERPT_CHARACTERS]


def printable(value: Any) -> str:
    """Any value as one line of text that can be encoded as UTF-8."""
    text = value if isinstance(value, str) else str(value)
    return " ".join(text.encode("utf-8", "backslashreplace").decode().split())


def shown(name: str) -> str:
    """A name on one line of a terminal or a log: what could end the line or steer the terminal is escaped."""
    if name.isprintable():
        return name
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode()
        for character in name
    )


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its class where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
