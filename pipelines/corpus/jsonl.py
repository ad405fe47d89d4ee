"""JSON Lines: an object is a document, a blank line is none, anything else is a reject."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from pipelines.corpus.depth import MAX_DEPTH, too_deep
from pipelines.corpus.dotted import with_heads
from pipelines.corpus.encodings import is_utf8
from pipelines.corpus.evidence import DamagedFile, first_line, reject_at
from pipelines.corpus.integers import exactly
from pipelines.corpus.lines import MAX_LINE_BYTES, LongLine, read_lines
from pipelines.corpus.mapping import ColumnMapping, Step
from pipelines.documents import Reason, Reject
from pipelines.spec import CorpusSpec, Shard


def read(shard: Shard, spec: CorpusSpec, mapping: ColumnMapping, offset: int, line: int) -> Iterator[Step]:
    """The items of a file from a byte offset on. Raises DamagedFile after all that could be read."""
    loads, document = orjson.loads, mapping.document
    encoding = None if is_utf8(spec.encoding) else spec.encoding
    columns = with_heads(
        [
            *([spec.id_column] if spec.id_column is not None else []),
            *(kept.column for kept in spec.keep),
            *(one.column for one in spec.attached),
        ]
    )
    for block in read_lines(shard.uri, shard.compression, offset, line, bom=encoding is None):
        if isinstance(block, LongLine):
            yield long_line(shard, block), block.next_offset, block.last_number, 0
            continue
        after, number, lines, end = block
        for raw in lines:
            start = after
            after = start + len(raw) + end
            if raw and not raw.isspace():
                values = None  # 16 MB of JSON can be 600 MB of values: never those of two lines
                try:
                    values = loads(raw if encoding is None else raw.decode(encoding))
                except ValueError as error:
                    yield _unreadable(shard, start, number, raw, error), after, number, 0
                else:
                    if too_deep(raw, values):
                        detail = f"it nests arrays and objects over {MAX_DEPTH} deep"
                        yield reject_at(shard, start, number, Reason.BAD_JSON, detail, raw), after, number, 0
                    elif type(values) is dict:
                        values = exactly(values, columns, raw, encoding)
                        yield document(values, start, number, raw), after, number, 0
                    else:
                        detail = f"the line is a JSON {type(values).__name__}, wanted an object"
                        yield reject_at(shard, start, number, Reason.NOT_AN_OBJECT, detail, raw), after, number, 0
            number += 1


def sample(shard: Shard, encoding: str) -> Iterator[tuple[dict[str, Any] | None, int]]:
    """The objects of a file's lines (None for a line that is none) and their size in bytes, to look at before a run."""
    decode = not is_utf8(encoding)
    try:
        for block in read_lines(shard.uri, shard.compression, bom=not decode):
            if isinstance(block, LongLine):
                yield None, block.size
                continue
            for raw in block.lines:
                if not raw or raw.isspace():
                    continue
                values = None
                try:
                    values = orjson.loads(raw.decode(encoding) if decode else raw)
                except ValueError:
                    values = None
                if isinstance(values, dict) and not too_deep(raw, values):
                    yield exactly(values, values, raw, encoding if decode else None), len(raw)
                else:
                    yield None, len(raw)
    except DamagedFile:
        return


def long_line(shard: Shard, line: LongLine) -> Reject:
    """The reject that a line over the limit becomes."""
    detail = f"the line has {line.size} bytes, at most {MAX_LINE_BYTES} are read"
    return reject_at(shard, line.offset, line.number, Reason.TOO_LONG, detail, line.head, sha256=line.sha256)


def _unreadable(shard: Shard, offset: int, number: int, raw: bytes, error: ValueError) -> Reject:
    """Bytes that are no text in the encoding, and escapes that name half a character, are bad_encoding."""
    detail = first_line(error)
    # orjson tells lone surrogates ("no low surrogate", "invalid high surrogate") only in its message.
    encoded = isinstance(error, UnicodeDecodeError) or "surrogate" in detail
    reason = Reason.BAD_ENCODING if encoded else Reason.BAD_JSON
    return reject_at(shard, offset, number, reason, detail, raw)
