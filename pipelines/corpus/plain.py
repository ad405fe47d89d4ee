"""Plain text: a line is a document, or a whole file is one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from pipelines.corpus.blocks import DamagedStreamError, blocks
from pipelines.corpus.encodings import is_utf8
from pipelines.corpus.evidence import DamagedFile, first_line, reject_at
from pipelines.corpus.jsonl import long_line
from pipelines.corpus.lines import MAX_LINE_BYTES, LongLine, read_lines
from pipelines.corpus.mapping import ColumnMapping, Step
from pipelines.documents import Document, Reason, Reject
from pipelines.spec import CorpusSpec, Shard

COLUMN = "text"
"""The one column of a text file."""

_BOM = b"\xef\xbb\xbf"


def read(shard: Shard, spec: CorpusSpec, mapping: ColumnMapping, offset: int, line: int) -> Iterator[Step]:
    """The lines of a file from a byte offset on, without their ends (``\\n`` or ``\\r\\n``); blank ones are counted.

    Raises DamagedFile after all that could be read.
    """
    if spec.whole_files:
        yield from _whole(shard, spec, mapping, offset)
        return
    encoding = "utf-8" if is_utf8(spec.encoding) else spec.encoding
    blank = 0
    for block in read_lines(shard.uri, shard.compression, offset, line, bom=encoding == "utf-8"):
        if isinstance(block, LongLine):
            yield long_line(shard, block), block.next_offset, block.last_number, blank
            continue
        after, number, lines, end = block
        for raw in lines:
            start = after
            after = start + len(raw) + end
            item = _item(shard, mapping, start, number, raw, encoding)
            if item is None:
                blank += 1
            else:
                yield item, after, number, blank
            number += 1
        yield None, after, number - 1, blank


def _item(
    shard: Shard, mapping: ColumnMapping, offset: int, number: int, raw: bytes, encoding: str
) -> Document | Reject | None:
    """The document of a line, its reject, or None for a blank line."""
    try:
        text = (raw[:-1] if raw.endswith(b"\r") else raw).decode(encoding)
    except UnicodeDecodeError as error:
        return reject_at(shard, offset, number, Reason.BAD_ENCODING, first_line(error), raw)
    if not text or text.isspace():
        return None
    return mapping.document({COLUMN: text}, offset, number, raw)


def _whole(shard: Shard, spec: CorpusSpec, mapping: ColumnMapping, offset: int) -> Iterator[Step]:
    """The file as one document, its text as it stands but for a byte order mark."""
    if offset:
        return
    head = bytearray()
    digest = hashlib.sha256()
    size = 0
    try:
        for block in blocks(shard.uri, shard.compression):
            size += len(block)
            digest.update(block)
            if size <= MAX_LINE_BYTES:
                head += block
    except DamagedStreamError as error:
        raise DamagedFile(0, 1, str(error), bytes(head)) from error
    raw = bytes(head)
    after = max(size, 1)  # an empty file is a document too, and offset 0 is before it
    if size > MAX_LINE_BYTES:
        detail = f"the file has {size} bytes, at most {MAX_LINE_BYTES} are read"
        yield reject_at(shard, 0, 1, Reason.TOO_LONG, detail, raw[:1024], sha256=digest.hexdigest()), after, 1, 0
        return
    utf8 = is_utf8(spec.encoding)
    try:
        text = (raw.removeprefix(_BOM) if utf8 else raw).decode("utf-8" if utf8 else spec.encoding)
    except UnicodeDecodeError as error:
        yield reject_at(shard, 0, 1, Reason.BAD_ENCODING, first_line(error), raw), after, 1, 0
        return
    yield mapping.document({COLUMN: text}, 0, 1, raw), after, 1, 0
