"""CSV and TSV: a record is a document, the first one names the columns, another number of fields is a reject."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from pipelines.corpus.encodings import is_utf8
from pipelines.corpus.evidence import DamagedFile, first_line, reject_at
from pipelines.corpus.jsonl import long_line
from pipelines.corpus.lines import MAX_LINE_BYTES, LongLine, read_lines
from pipelines.corpus.mapping import ColumnMapping, Step
from pipelines.corpus.records import Record, read_records
from pipelines.documents import Reason, Reject
from pipelines.spec import CorpusSpec, Format, Shard

# A setting of the whole process; records are held to the same limit here before csv sees them.
csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))


MAX_COLUMNS = 65_536
"""A header with more is no header: each column costs a thousand times the byte that separates it."""


class BadHeaderError(Exception):
    """The first record of a file does not name its columns; the message says why."""


def read(shard: Shard, spec: CorpusSpec, mapping: ColumnMapping, offset: int, line: int) -> Iterator[Step]:
    """The items of a file from a byte offset on. Raises DamagedFile after all that could be read."""
    try:
        columns, body, body_line = header(shard, spec.encoding, spec.header)
    except BadHeaderError as error:
        raise DamagedFile(0, 1, str(error)) from error
    if offset < body:
        offset, line = body, body_line
    delimiter, document = _delimiter(shard), mapping.document
    encoding, wanted = _codec(spec.encoding), len(columns)
    for record in _records(shard, spec.encoding, offset, line, wanted):
        if isinstance(record, LongLine):
            yield long_line(shard, record), record.next_offset, record.last_number, 0
            continue
        start, number, raw, after, last, literal, closed = record
        try:
            fields = _fields(raw, delimiter, encoding, literal)
        except (csv.Error, UnicodeDecodeError) as error:
            yield _unreadable(shard, record, error), after, last, 0
            continue
        if closed and len(fields) == wanted:
            yield document(dict(zip(columns, fields, strict=True)), start, number, raw), after, last, 0
        else:
            detail = f"{_count(len(fields))}, wanted {wanted}"
            if not closed:
                detail = f"a quoted field that begins in line {number} never ends"
            yield reject_at(shard, start, number, Reason.BAD_ROW, detail, raw), after, last, 0


def header(shard: Shard, encoding: str, named: bool) -> tuple[tuple[str, ...], int, int]:
    """The columns of a file, the byte offset at which its documents begin, and the lines before it.

    Columns without a header (``named`` false) are ``0``, ``1``, …: as many as the first record has fields. An empty
    file has none. Raises BadHeaderError where the first record cannot be read.
    """
    delimiter = _delimiter(shard)
    try:
        record = next(_records(shard, encoding, 0, 0, None), None)
        if record is None:
            return (), 0, 0
        if isinstance(record, LongLine):
            raise BadHeaderError(f"its first line has over {MAX_LINE_BYTES} bytes")
        fields = _fields(record.raw, delimiter, _codec(encoding), record.literal)
    except (csv.Error, UnicodeDecodeError, DamagedFile) as error:
        raise BadHeaderError(f"its first line cannot be read ({first_line(error)})") from error
    if not record.closed:
        raise BadHeaderError("a quoted field in its first line never ends")
    if len(fields) > MAX_COLUMNS:
        raise BadHeaderError(f"its first line has {len(fields)} fields, at most {MAX_COLUMNS} are read")
    if not named:
        return tuple(str(index) for index in range(len(fields))), record.offset, record.number - 1
    return tuple(fields), record.next_offset, record.last_number


def _records(shard: Shard, encoding: str, offset: int, line: int, fields: int | None) -> Iterator[Record | LongLine]:
    lines = read_lines(shard.uri, shard.compression, offset, line, bom=is_utf8(encoding))
    delimiter = _delimiter(shard).encode()
    return read_records(lines, delimiter, lenient=shard.format is Format.TSV, fields=fields)


def _fields(raw: bytes, delimiter: str, encoding: str, literal: bool) -> list[str]:
    """The fields of a record. Raises csv.Error or UnicodeDecodeError."""
    text = raw.decode(encoding)
    if not literal:
        return next(csv.reader((text,), delimiter=delimiter))
    if "\r" in text:
        raise csv.Error("a carriage return outside of quotes")
    return text.split(delimiter)


def _delimiter(shard: Shard) -> str:
    return "\t" if shard.format is Format.TSV else ","


def _codec(encoding: str) -> str:
    return "utf-8" if is_utf8(encoding) else encoding


def _count(fields: int) -> str:
    return "1 field" if fields == 1 else f"{fields} fields"


def _unreadable(shard: Shard, record: Record, error: Exception) -> Reject:
    reason = Reason.BAD_ENCODING if isinstance(error, UnicodeDecodeError) else Reason.BAD_ROW
    return reject_at(shard, record.offset, record.number, reason, first_line(error), record.raw)
