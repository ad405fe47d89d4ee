"""Compressed files that are cut, flipped, joined, padded or bombs: all before the damage is used, nothing raises."""

import bz2
import gzip
import json
import lzma
import random
import zlib

import pytest
import zstandard

from pipelines.corpus import open_corpus
from pipelines.documents import Document, Reason
from pipelines.spec import CorpusSpec, Format, Shard

PACK = {
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}
LINES = [json.dumps({"text": f"line {n} " + "é" * (n % 5)}) for n in range(40)]
TEXTS = [json.loads(line)["text"] for line in LINES]
PLAIN = "".join(line + "\n" for line in LINES).encode()


def spec_of(path, compression):
    """Without discovery, which a damaged head could lead astray."""
    stat = path.stat()
    return CorpusSpec((Shard(str(path), path.name, Format.JSONL, compression, stat.st_size, stat.st_mtime_ns),))


def read(path, compression):
    return list(open_corpus(spec_of(path, compression)))


@pytest.mark.parametrize("compression", PACK)
def test_cut_at_every_byte(tmp_path, compression):
    path = tmp_path / "a"
    whole = PACK[compression](PLAIN)
    most = 0
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        *good, last = read(path, compression)
        assert [item.text for item in good] == TEXTS[: len(good)]
        assert last.reason is Reason.DAMAGED_FILE
        assert last.origin.offset == len("".join(line + "\n" for line in LINES[: len(good)]).encode())
        assert last.origin.line == len(good) + 1
        most = max(most, len(good))
    assert most == len(LINES)  # cut within the checksum, everything is there


@pytest.mark.parametrize("compression", PACK)
def test_flipped_bits_never_raise_and_can_be_resumed(tmp_path, compression):
    path = tmp_path / "a"
    whole = PACK[compression](PLAIN)
    chance = random.Random(7)
    for _ in range(60):
        place = chance.randrange(len(whole))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << chance.randrange(8)]) + whole[place + 1 :])
        spec = spec_of(path, compression)
        reader = open_corpus(spec)
        items, cursors = [], [reader.cursor]
        for item in reader:
            items.append(item)
            cursors.append(reader.cursor)
        assert [item.reason for item in items if not isinstance(item, Document)].count(Reason.DAMAGED_FILE) <= 1
        middle = len(items) // 2
        assert list(open_corpus(spec, cursors[middle])) == items[middle:]
        assert list(open_corpus(spec, cursors[-1])) == []


def test_a_flaw_far_into_a_gzip_file_costs_only_what_follows(tmp_path):
    chance = random.Random(1)
    lines = [json.dumps({"text": str(chance.random())}) for _ in range(20_000)]
    compressor = zlib.compressobj(wbits=31)
    whole = compressor.compress("\n".join(lines[:10_000]).encode() + b"\n") + compressor.flush(zlib.Z_FULL_FLUSH)
    good = len(whole)
    whole += b"\xff" * 20  # a block of a type that does not exist
    path = tmp_path / "a"
    path.write_bytes(whole + compressor.compress(b"more"))
    items = read(path, "gzip")
    assert good > 3 * 2**14
    assert len(items) == 10_001
    assert items[-1].reason is Reason.DAMAGED_FILE


@pytest.mark.parametrize("compression", PACK)
def test_members_one_after_the_other_and_zero_padding(tmp_path, compression):
    path = tmp_path / "a"
    pack = PACK[compression]
    path.write_bytes(pack(PLAIN[:100]) + pack(b"") + pack(PLAIN[100:]) + b"\0" * 512)
    assert [item.text for item in read(path, compression)] == TEXTS


@pytest.mark.parametrize("compression", PACK)
def test_anything_else_after_the_end_is_damage(tmp_path, compression):
    path = tmp_path / "a"
    path.write_bytes(PACK[compression](PLAIN) + b"garbage")
    *good, last = read(path, compression)
    assert len(good) == len(LINES)
    assert last.reason is Reason.DAMAGED_FILE


def test_a_skippable_zstd_frame_is_skipped(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"\x50\x2a\x4d\x18\x03\0\0\0abc" + zstandard.compress(PLAIN))
    assert [item.text for item in read(path, "zstd")] == TEXTS


@pytest.mark.parametrize("compression", PACK)
def test_a_bomb_is_one_long_line(tmp_path, compression):
    size = 40 * 2**20
    path = tmp_path / "a"
    path.write_bytes(PACK[compression](b" " * size + b'\n{"text": "after"}\n'))
    long, after = read(path, compression)
    assert (long.reason, after.text) == (Reason.TOO_LONG, "after")
    assert str(size) in long.detail


def test_a_zstd_window_that_needs_too_much_memory_is_damage(tmp_path):
    parameters = zstandard.ZstdCompressionParameters(window_log=30, enable_ldm=1)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    path = tmp_path / "a"
    path.write_bytes(packer.compress(PLAIN) + packer.flush())
    assert [item.reason for item in read(path, "zstd")] == [Reason.DAMAGED_FILE]


def test_the_next_file_is_read_after_a_damaged_one(tmp_path):
    (tmp_path / "a").write_bytes(gzip.compress(PLAIN)[:-5])
    (tmp_path / "b").write_bytes(gzip.compress(PLAIN))
    shards = [spec_of(tmp_path / name, "gzip").shards[0] for name in "ab"]
    reader = open_corpus(CorpusSpec(tuple(shards)))
    items = list(reader)
    assert len(items) == 2 * len(LINES) + 1
    assert reader.cursor[:4] == (2, 0, 0, len(items))


def test_a_csv_file_cut_within_its_header_is_one_reject(tmp_path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"text\na\n")[:12])
    stat = path.stat()
    shard = Shard(str(path), path.name, Format.CSV, "gzip", stat.st_size, stat.st_mtime_ns)
    assert [item.reason for item in open_corpus(CorpusSpec((shard,)))] == [Reason.DAMAGED_FILE]
