"""What a file is: its compression by its first bytes, its format by its suffix, then by its content."""

from __future__ import annotations

import os

import orjson

from pipelines.corpus.arrow_batches import MAGIC as ARROW_MAGIC
from pipelines.corpus.blocks import DamagedStreamError, blocks
from pipelines.corpus.evidence import shown
from pipelines.corpus.regular import open_regular
from pipelines.errors import InputError
from pipelines.spec import Format

COLUMNAR = (Format.PARQUET, Format.ARROW)

_SUFFIX_COMPRESSION = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".xz": "xz"}
_MAGIC_COMPRESSION = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\x00": "xz",
}
_BZ2_BLOCKS = (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90")
_FORMATS = {
    Format.JSONL: (".jsonl", ".ndjson", ".jsonlines"),
    Format.CSV: (".csv",),
    Format.TSV: (".tsv", ".tab"),
    Format.PARQUET: (".parquet", ".pq"),
    Format.ARROW: (".arrow", ".arrows", ".feather", ".ipc"),
    Format.TEXT: (".txt", ".text", ".md", ".rst"),
}
_SUFFIX_FORMAT = {suffix: format_ for format_, suffixes in _FORMATS.items() for suffix in suffixes}
_STREAM_MAGIC = b"\xff\xff\xff\xff"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_HEAD_BYTES = 64 * 1024


def compression_of(path: str) -> str:
    """``none``, ``gzip``, ``zstd``, ``bz2`` or ``xz``.

    The first bytes decide. Where they name none, a file with a suffix of compression that is no text either is taken
    at its suffix: it is damaged, and will be rejected as such.
    """
    with open_regular(path) as file:
        head = file.read(_HEAD_BYTES)
    for magic, name in _MAGIC_COMPRESSION.items():
        if head.startswith(magic):
            return name
    if head[:3] == b"BZh" and head[4:10] in _BZ2_BLOCKS:
        return "bz2"
    named = _SUFFIX_COMPRESSION.get(os.path.splitext(path)[1].lower(), "none")
    return "none" if _is_text(head) else named


def suffix_format(path: str) -> Format | None:
    """The format that the suffix names, one of compression left aside; None where it names none."""
    stem, suffix = os.path.splitext(path.lower())
    if suffix in _SUFFIX_COMPRESSION:
        suffix = os.path.splitext(stem)[1]
    return _SUFFIX_FORMAT.get(suffix)


def format_of(path: str, compression: str) -> Format:
    """The format by suffix, else by content. Raises InputError where neither says."""
    named = suffix_format(path)
    if named is not None:
        return named
    head = first_bytes(path, compression)
    if head.startswith(b"PAR1"):
        return Format.PARQUET
    if head.startswith((ARROW_MAGIC, _STREAM_MAGIC)):
        return Format.ARROW
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith((b"{", b"[")):
        return _json_format(path, text)
    if not _is_text(head):
        raise InputError(f"{shown(path)} is neither text nor a known format.", "Say how to read it: --format FORMAT")
    return Format.TEXT


def first_bytes(path: str, compression: str) -> bytes:
    """The first decompressed bytes, as far as they can be read."""
    try:
        return next(blocks(path, compression), b"")[:_HEAD_BYTES]
    except DamagedStreamError:
        return b""


def check_readable(path: str, format_: Format, compression: str, encoding: str, *, asked: bool) -> None:
    """Raises InputError for what cannot be read although its format is known.

    JSON Lines that were ``asked`` for are read whatever they are: each line of UTF-16 is then a reject. Not so other
    text, of which half would pass for UTF-8 with NULs in it.
    """
    if format_ in COLUMNAR:
        if compression != "none":
            raise InputError(f"{shown(path)} is a {format_} file inside {compression}.", "Decompress it first.")
        return
    if asked and format_ is Format.JSONL:
        return
    head = first_bytes(path, compression)
    if head.startswith(_UTF16) and b"\0" in head:
        hint = "Convert it: iconv -f UTF-16 -t UTF-8 FILE > FILE.utf8"
        raise InputError(f"{shown(path)} is UTF-16 text, wanted {encoding}.", hint)


def _json_format(path: str, text: bytes) -> Format:
    """JSON Lines if the first line is a JSON value by itself; other JSON is refused with the way to convert it."""
    line, _, more = text.partition(b"\n")
    try:
        if isinstance(orjson.loads(line), dict):
            return Format.JSONL
    except orjson.JSONDecodeError:
        if not more and len(text) >= _HEAD_BYTES // 2 and text.startswith(b"{"):
            return Format.JSONL  # one long line
    if os.path.splitext(path)[1].lower() not in (".json", *_SUFFIX_COMPRESSION):
        return Format.TEXT
    raise InputError(
        f"{shown(path)} is JSON, but not JSON Lines (an object in each line).",
        "Convert it (jq -c '.[]' FILE > FILE.jsonl), or say --format jsonl to read its lines as they are.",
    )


def _is_text(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        # The head may end within a character.
        return b"\0" not in head and len(head) == _HEAD_BYTES and error.start >= len(head) - 3
    return b"\0" not in head
