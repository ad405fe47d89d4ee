"""Inputs for the readers: good and bad files of every format, broken further by a seeded generator."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

PACK: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": lambda data: gzip.compress(data, 1, mtime=0),
    "zstd": zstandard.ZstdCompressor(level=1, write_checksum=True).compress,
    "bz2": lambda data: bz2.compress(data, 1),
    "xz": lambda data: lzma.compress(data, preset=0),
}
SUFFIXES = {"none": "", "gzip": ".gz", "zstd": ".zst", "bz2": ".bz2", "xz": ".xz"}
FORMATS = ("jsonl", "csv", "tsv", "parquet", "arrow", "text")

_NAMES = {"jsonl": ".jsonl", "csv": ".csv", "tsv": ".tsv", "parquet": ".parquet", "arrow": ".arrow", "text": ".txt"}
_TOKENS = (
    *rb"""" "" , { } [ ] \u \uD800 1e999 -0 NaN PAR1 ARROW1 BZh9 {"text":"a"} ../../etc/passwd""".split(),
    *(b"\t", b"\n", b"\r\n", b"\r", b"\0", b"\xff" * 4, b"[" * 70, b'{"a":' * 70, b"9" * 400),
    *(b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"ARROW1\0\0"),
    *(b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", "\u202e\u2028".encode()),
)
_NUMBERS = (0, 1, -1, 2, 127, 128, 255, 256, 2**15, 2**16, 2**24, 2**31 - 1, -(2**31), 2**32 - 1, 2**40, 2**62)
_KEEPS = ("n", "n:int8", "n:string", "n:json", "n:date32", "when", "when:string", "l:json", "l", "flag:bool", "text=t")


class Input(NamedTuple):
    """A file for a reader: its name and bytes, and what the command line would say about it."""

    name: str
    data: bytes
    options: dict[str, Any]


def inputs(seed: int, count: int, first: int = 0) -> Iterator[Input]:
    """``count`` inputs from number ``first`` on; each depends on the seed, its number and the outside data only."""
    seeds = _seeds()
    for number in range(first, first + count):
        yield _made(random.Random(f"{seed}/{number}"), seeds)


def _made(chance: random.Random, seeds: dict[str, list[bytes]]) -> Input:
    format_ = chance.choice(FORMATS)
    data = chance.choice(seeds[format_])
    compression = "none" if format_ in ("parquet", "arrow") or chance.random() < 0.5 else chance.choice(list(PACK))
    inside = chance.random()
    if inside < 0.9:
        data = _mutated(chance, data, seeds)
    data = PACK[compression](data)
    if inside >= 0.9 or (compression != "none" and chance.random() < 0.5):
        data = _mutated(chance, data, seeds)
    name = "input" + chance.choice(
        [_NAMES[format_] + SUFFIXES[compression], _NAMES[chance.choice(FORMATS)], "", ".json"]
    )
    # Most inputs go to the reader that they were made for, some to another.
    options: dict[str, Any] = {"format": chance.choice(["auto", format_, format_, format_, chance.choice(FORMATS)])}
    options["compression"] = compression
    options["direct"] = chance.random() < 0.6
    options["header"] = chance.random() < 0.9
    options["whole_files"] = chance.random() < 0.05
    options["encoding"] = chance.choice(["utf-8"] * 8 + ["latin-1", "cp1252"])
    options["text_columns"] = chance.choice([["text"]] * 4 + [["text", "n"], ["l"], ["n"]])
    options["pair_column"] = chance.choice([None] * 5 + ["text", "n"])
    options["keep"] = chance.sample(_KEEPS, chance.choice([0, 0, 1, 2]))
    return Input(name, data, options)


def _mutated(chance: random.Random, data: bytes, seeds: dict[str, list[bytes]]) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice([0, 1, 1, 1, 2, 4, 16])):
        size = len(changed)
        # Footers and headers hold the lengths: half of all changes go to the last or first bytes.
        place = chance.choice(
            [chance.randrange(size + 1), max(0, size - chance.randrange(1, 400)), chance.randrange(200)]
        )
        place = min(place, size)
        end = min(size, place + chance.choice([1, 2, 8, 100, 5000]))
        match chance.randrange(9):
            case 0:
                if place < size:
                    changed[place] ^= 1 << chance.randrange(8)
            case 1:
                if place < size:
                    changed[place] = chance.randrange(256)
            case 2:
                del changed[place:]
            case 3:
                del changed[place:end]
            case 4:
                changed[place:place] = changed[place:end] * chance.choice([1, 2, 50])
            case 5:
                changed[place:place] = chance.choice(_TOKENS)
            case 6:
                width = chance.choice([2, 4, 8])
                number = chance.choice(_NUMBERS) % 2 ** (8 * width)
                changed[place : place + width] = number.to_bytes(width, chance.choice(["little", "big"]))
            case 7:
                changed[place:end] = chance.randbytes(end - place)
            case _:
                other = chance.choice(seeds[chance.choice(FORMATS)])
                cut = chance.randrange(len(other) + 1)
                changed[place:] = other[cut : cut + 20_000]
    return bytes(changed)


def _seeds() -> dict[str, list[bytes]]:
    """Files to begin with, by format: small ones made here, and those of the outside data where there are any."""
    rows = [
        {
            "id": f"d{n}",
            "text": f"text {n} \u00e9\U0001f600 " * (n % 4),
            "n": n - 5,
            "l": [n, {"a": [None]}],
            "flag": n % 2 == 0,
        }
        for n in range(30)
    ]
    lines = "".join(json.dumps(row, ensure_ascii=n % 2 == 0) + "\n" for n, row in enumerate(rows)).encode()
    table = "".join(f'{row["id"]},"{row["text"]}\n""q""",{row["n"]},true\r\n' for row in rows).encode()
    tabs = "".join(f'{row["id"]}\t{row["text"]}\t{row["n"]}\t"x\n' for row in rows).encode()
    found = {
        "jsonl": [lines, b'\xef\xbb\xbf{"text": "a"}\n\n', b'{"text": "%s"}' % (b"a" * 70_000), b""],
        "csv": [b"id,text,n,flag\n" + table, b"text\na\n", b'"te\nxt",text\n1,2\n'],
        "tsv": [b"id\ttext\tn\tl\n" + tabs, b'text\n"a\nb"\n"c\n'],
        "text": ["\n".join(row["text"] for row in rows).encode(), b"a\r\n\r\nb", b"\xff\xfea\0", b"\n" * 5000],
        "parquet": [_parquet(**options) for options in _PARQUET_OPTIONS],
        "arrow": [_arrow(new, **options) for new in (pa.ipc.new_file, pa.ipc.new_stream) for options in _ARROW_OPTIONS],
    }
    outside = os.environ.get("PENSTOCK_TEST_DATA")
    if outside:
        folder = Path(outside)
        found["jsonl"] += [path.read_bytes()[:20_000] for path in sorted(folder.glob("json_torture/*.json"))]
        found["csv"] += [path.read_bytes() for path in sorted(folder.glob("csv_spectrum/csvs/*.csv"))]
        found["parquet"] += [path.read_bytes()[-50_000:] for path in sorted(folder.glob("parquet_bad/*.parquet"))]
        naughty = json.loads((folder / "naughty_strings" / "blns.json").read_bytes())
        found["jsonl"].append(
            "".join(json.dumps({"id": text, "text": text, "n": text}) + "\n" for text in naughty).encode()
        )
        found["text"].append((folder / "naughty_strings" / "blns.txt").read_bytes())
    return found


_PARQUET_OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"compression": "zstd", "row_group_size": 10},
    {"use_dictionary": False, "data_page_size": 200, "compression": "none"},
    {"data_page_version": "2.0", "compression": "gzip", "write_page_index": True},
    {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY", "n": "DELTA_BINARY_PACKED"}},
    {"store_schema": False, "write_page_checksum": True},
)
_ARROW_OPTIONS: tuple[dict[str, Any], ...] = ({}, {"compression": "zstd"}, {"compression": "lz4"})


def _columns() -> pa.Table:
    texts = [f"text {n} \u00e9 " * (n % 4) for n in range(30)]
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([10, 30], pa.int32()), pa.array(["x", "y"]))
    return pa.table(
        {
            "id": [f"d{n}" for n in range(30)],
            "text": texts,
            "n": pa.array(range(30), pa.int32()),
            "l": pa.array([[f"a{n}", None] for n in range(30)]),
            "when": pa.array([n * 10**9 for n in range(30)], pa.timestamp("us", "UTC")),
            "kind": pa.array(["a", "b", None] * 10).dictionary_encode(),
            "runs": runs,
        }
    )


def _parquet(**options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(_columns().drop_columns(["runs"]), sink, **options)
    return sink.getvalue()


def _arrow(new: Callable[..., Any], **options: Any) -> bytes:
    sink = io.BytesIO()
    table = _columns().rename_columns(["id", "a", "n", "l", "when", "text", "flag"]) if options else _columns()
    with new(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=10)
    return sink.getvalue()
