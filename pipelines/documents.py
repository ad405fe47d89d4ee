"""The values that everything speaks: documents, where they came from, those that were rejected, and batches of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

EXCERPT_CHARACTERS = 200
"""How much of a rejected text is kept as evidence."""


class Origin(NamedTuple):
    """Where a document came from: file, byte offset (or row number) and line (1-based; 0 where lines mean nothing)."""

    uri: str
    offset: int
    line: int


class Document(NamedTuple):
    """One text with an id and an origin; ``pair`` is its second sentence, ``kept`` the values of the kept columns."""

    id: str
    text: str
    pair: str | None
    origin: Origin
    kept: tuple[Any, ...] = ()


class Stage(StrEnum):
    """Where a row of the quarantine came from. Rows of stage ``warning`` are notes on documents that do have a row."""

    READ = "read"
    EXTRACT = "extract"
    WARNING = "warning"


class Reason(StrEnum):
    """Why a document was rejected (contract: *Corpora*)."""

    BAD_JSON = "bad_json"
    NOT_AN_OBJECT = "not_an_object"
    WRONG_TYPE = "wrong_type"
    MISSING_TEXT = "missing_text"
    EMPTY_TEXT = "empty_text"
    BAD_ENCODING = "bad_encoding"
    TOO_LONG = "too_long"
    BAD_ROW = "bad_row"
    DAMAGED_FILE = "damaged_file"
    UNFIT = "unfit"  # a feature cannot read it: the detail says why
    NOT_FINITE = "not_finite"
    CRASH = "crash"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    KEPT_VALUE = "kept_value"  # stage warning only: a kept value did not fit its column and became null


class Reject(NamedTuple):
    """A document that cannot be processed: address, reason and evidence. Also, with stage ``warning``, a note."""

    id: str
    origin: Origin
    stage: Stage
    reason: Reason
    detail: str
    attempts: int = 0
    excerpt: str = ""
    text_sha256: str = ""


def reject_of(document: Document, stage: Stage, reason: Reason, detail: str, attempts: int = 0) -> Reject:
    """The reject (or warning) that a document becomes."""
    data = document.text.encode("utf-8", "surrogatepass")
    return Reject(
        document.id,
        document.origin,
        stage,
        reason,
        detail,
        attempts,
        document.text[:EXCERPT_CHARACTERS],
        hashlib.sha256(data).hexdigest(),
    )


class Cursor(NamedTuple):
    """A place between two items of a corpus, from which reading goes on exactly. ``CORPUS_START`` is the first.

    ``shard`` counts files, ``offset`` is a byte offset in the decompressed file (or a row number), ``line`` the lines
    before it; ``documents`` and ``blank_lines`` count what lies before this place in the whole corpus.
    """

    shard: int = 0
    offset: int = 0
    line: int = 0
    documents: int = 0
    blank_lines: int = 0


CORPUS_START = Cursor()


@dataclass(frozen=True, slots=True)
class Batch:
    """The unit of message, retry and commit: a run of consecutive items of the corpus, rejects of reading included.

    The item at index *i* is document number ``first + i`` of the corpus; [first, first + len(items)) is the interval
    that the seal checks. ``start`` and ``end`` are the cursors around it.
    """

    number: int
    first: int
    items: list[Document | Reject]
    warnings: list[Reject] = field(default_factory=list)
    start: Cursor = CORPUS_START
    end: Cursor = CORPUS_START

    @property
    def documents(self) -> list[Document]:
        return [item for item in self.items if isinstance(item, Document)]

    @property
    def rejects(self) -> list[Reject]:
        return [item for item in self.items if isinstance(item, Reject)]


def input_digest(text: str, pair: str | None = None) -> bytes:
    """BLAKE2b-128 of the exact text(s) of a document; 0xFF, which UTF-8 never contains, separates a pair."""
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    if pair is not None:
        digest.update(b"\xff")
        digest.update(pair.encode())
    return digest.digest()


def items_digest(items: Iterable[Document | Reject]) -> str:
    """Hex digest of what was read: it says whether a batch read again is the batch that was planned."""
    digest = hashlib.blake2b(digest_size=16)
    for item in items:
        if isinstance(item, Document):
            fields = (item.id, item.text, item.pair if item.pair is not None else "", repr(item.kept))
            digest.update(b"\x01" if item.pair is None else b"\x02")
        else:
            fields = (item.id, item.reason, str(item.origin.offset), item.text_sha256)
            digest.update(b"\x03")
        for value in fields:
            data = value.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "little"))
            digest.update(data)
    return digest.hexdigest()
