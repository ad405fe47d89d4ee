"""Small files that would become large: refused at a stated size, and the next file is read."""

import bz2
import gzip
import lzma
import resource
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from pipelines.corpus import CorpusOptions, discover, open_corpus
from pipelines.corpus.bombs import FREE_BYTES, MAX_RATIO
from pipelines.corpus.parquet_limits import batch_rows, known_places
from pipelines.documents import Document, Reason
from pipelines.errors import InputError
from pipelines.spec import CorpusSpec, Format, KeptColumn, Shard

PACK = {"gzip": gzip.compress, "zstd": zstandard.compress, "bz2": bz2.compress, "xz": lzma.compress}
LINE = b'{"text": "%s"}\n' % (b"x" * 10**6)


def spec_of(*paths, compression="none", **options):
    kinds = {"jsonl": Format.JSONL, "parquet": Format.PARQUET, "arrow": Format.ARROW, "csv": Format.CSV}
    return CorpusSpec(
        tuple(
            Shard(str(path), path.name, kinds[path.name.split(".")[1]], compression, path.stat().st_size, 0)
            for path in paths
        ),
        **options,
    )


def peak_growth(path, kind, column="text"):
    """Megabytes by which reading the first 200 items raises the peak of a fresh process."""
    code = (
        "import resource, sys\nfrom itertools import islice\nfrom pipelines.corpus import open_corpus\n"
        "from pipelines.spec import CorpusSpec, Format, Shard\n"
        "shard = Shard(sys.argv[1], 'a', Format(sys.argv[2]), 'none', 0, 0)\n"
        "peak = lambda: int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) // 1024\n"
        "before = peak()\n"
        "for item in islice(open_corpus(CorpusSpec((shard,), text_columns=(sys.argv[3],))), 200): pass\n"
        "print(peak() - before)\n"
    )
    limit = (8 * 2**30, 8 * 2**30)  # a failure of this test is no failure of the machine
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), kind, column],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, limit),
    )
    return int(done.stdout)


@pytest.mark.parametrize("compression", PACK)
def test_a_bomb_is_used_up_to_the_ratio_and_the_next_file_is_read(tmp_path, compression):
    bomb, after = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    bomb.write_bytes(PACK[compression](LINE * 160))
    after.write_bytes(PACK[compression](b'{"text": "after"}\n'))
    assert bomb.stat().st_size * MAX_RATIO < 160 * len(LINE)
    spec = spec_of(bomb, after, compression=compression)
    reader = open_corpus(spec)
    items, cursors = [], [reader.cursor]
    for item in reader:
        items.append(item)
        cursors.append(reader.cursor)
    *good, damage, last = items
    assert last.text == "after"
    assert all(isinstance(item, Document) for item in good)
    assert (0 if compression == "zstd" else 60) <= len(good) < 160  # zstd cannot be stopped within 64 MB
    assert damage.reason is Reason.DAMAGED_FILE
    assert damage.detail.startswith("decompression bomb?")
    assert f"more than {MAX_RATIO} to 1" in damage.detail
    assert (damage.origin.offset, damage.origin.line) == (len(good) * len(LINE), len(good) + 1)
    middle = len(items) // 2
    assert list(open_corpus(spec, cursors[middle])) == items[middle:]
    assert list(open_corpus(spec, cursors[-2])) == items[-1:]


@pytest.mark.parametrize("compression", PACK)
def test_small_files_may_repeat_themselves_as_they_like(tmp_path, compression):
    path = tmp_path / "a.jsonl"
    path.write_bytes(PACK[compression](LINE * 60))
    assert path.stat().st_size * MAX_RATIO < 60 * len(LINE) < FREE_BYTES
    assert [type(item) for item in open_corpus(spec_of(path, compression=compression))] == [Document] * 60


def test_a_bomb_inside_a_bomb_is_text_of_no_kind(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(gzip.compress(LINE * 10)))
    items = list(open_corpus(discover([str(path)], CorpusOptions(format=Format.JSONL))))
    assert {item.reason for item in items} <= {Reason.BAD_JSON, Reason.BAD_ENCODING}


@pytest.mark.parametrize("depth", [64, 65, 200, 1000, 100_000])
def test_json_may_nest_64_deep(tmp_path, depth):
    path = tmp_path / "a.jsonl"
    nested = b"[" * (depth - 1) + b"]" * (depth - 1)
    path.write_bytes(b'{"text": "a", "n": %s, "m": "%s"}\n{"text": "after"}\n' % (nested, b"[{" * 500))
    spec = spec_of(path, keep=(KeptColumn("n", "int64", "n"),))
    item, after = open_corpus(spec)
    assert after.text == "after"
    if depth <= 64:
        assert item.text == "a"
    else:
        assert item.reason is Reason.BAD_JSON


@pytest.mark.parametrize("depth", [64, 65, 300, 1000, 100_000])
@pytest.mark.parametrize("digits", [b"1", b"12345678901234567890123"])
def test_json_in_a_cell_may_nest_64_deep(tmp_path, depth, digits):
    path = tmp_path / "a.csv"
    nested = b"[" * depth + digits + b"]" * depth
    path.write_bytes(b'text,n\na,"%s"\nafter,\n' % nested)
    reader = open_corpus(spec_of(path, keep=(KeptColumn("n", "json", "n"),)))
    item, after = reader
    assert (item.text, after.text) == ("a", "after")
    assert item.kept == (nested.decode() if depth <= 64 else None,)
    assert [warning.reason for warning in reader.take_warnings()] == [Reason.KEPT_VALUE] * (depth > 64)


def test_brackets_within_text_are_text(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "%s", "n": [%s1]}\n' % (b"[{" * 10_000, b"[], " * 1000))
    (item,) = open_corpus(spec_of(path))
    assert item.text == "[{" * 10_000


def test_a_header_with_a_million_columns_is_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"text," + b",".join(b"%d" % n for n in range(10**6)) + b"\na\n")
    with pytest.raises(InputError, match=r"a\.csv: its first line has 1000001 fields, at most 65536"):
        discover([str(path)], CorpusOptions())
    (item,) = open_corpus(spec_of(path))
    assert item.reason is Reason.DAMAGED_FILE


@pytest.mark.parametrize("kind", ["dictionary", "run ends", "list views of views"])
def test_arrow_rows_that_share_a_large_value_are_read_few_at_a_time(tmp_path, kind):
    path, rows = tmp_path / "a.arrow", 5000
    large = pa.array(["x" * 2**20])
    if kind == "dictionary":
        column = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), large)
    elif kind == "run ends":
        column = pa.RunEndEncodedArray.from_arrays(pa.array([rows], pa.int32()), large)
    else:
        zeros, ones = pa.array([0] * rows, pa.int32()), pa.array([1] * rows, pa.int32())
        column = pa.ListViewArray.from_arrays(zeros, ones, large)
    table = pa.table({"text": column})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    assert peak_growth(path, "arrow") < 200


def test_a_row_that_says_a_value_too_often_is_damage(tmp_path):
    path = tmp_path / "a.arrow"
    shared = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), pa.array(["x" * 2**20]))
    table = pa.table({"text": ["a", "b"], "n": pa.ListArray.from_arrays([0, 1, 1000], shared)})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    spec = spec_of(path, keep=(KeptColumn("n", "json", "n"),))
    good, damage = open_corpus(spec)
    assert good.text == "a"
    assert (damage.reason, damage.origin.offset) == (Reason.DAMAGED_FILE, 1)
    assert damage.detail.startswith("decompression bomb? one row has")


def test_a_parquet_dictionary_is_no_way_around(tmp_path):
    path = tmp_path / "a.parquet"
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array(["x" * 2**20]))
    pq.write_table(pa.table({"text": column}), path, store_schema=False)
    assert peak_growth(path, "parquet") < 700


def test_values_that_repeat_the_one_before_are_read_few_at_a_time(tmp_path):
    path = tmp_path / "a.parquet"
    table = pa.table({"text": ["x" * 2**20 + str(n) for n in range(100)]})
    pq.write_table(table, path, use_dictionary=False, column_encoding={"text": "DELTA_BYTE_ARRAY"})
    with pq.ParquetFile(path) as file, path.open("rb") as source:
        assert 1 <= batch_rows(source, file, known_places(source), 0, ["text"]) <= 256
    assert [item.text[-2:] for item in open_corpus(spec_of(path))][-1] == "99"


def test_a_page_out_of_proportion_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    rows = pa.table({"text": ["x" * 2**20] * 120, "n": range(120)})
    with pq.ParquetWriter(path, rows.schema, compression="zstd", use_dictionary=False, data_page_size=2**30) as writer:
        writer.write_table(rows.slice(0, 2))
        writer.write_table(rows)
        writer.write_table(rows.slice(0, 3))
    *good, damage = open_corpus(spec_of(path))
    assert [len(item.text) for item in good] == [2**20] * 2
    assert (damage.reason, damage.origin.offset) == (Reason.DAMAGED_FILE, 2)
    assert damage.detail.startswith("a page of column 'text': decompression bomb?")
    spec = spec_of(path, text_columns=("n",))
    assert len(list(open_corpus(spec))) == 125  # the column is not used: nothing of it is read


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_rows_out_of_nothing_are_refused(tmp_path, name):
    path = tmp_path / name
    table = pa.table({"n": pa.nulls(10**7)})
    if name == "a.parquet":
        pq.write_table(table, path, row_group_size=10**7)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    assert path.stat().st_size < 10**5
    (damage,) = open_corpus(spec_of(path))
    assert damage.reason is Reason.DAMAGED_FILE
    assert "10000000 rows" in damage.detail


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
@pytest.mark.parametrize("kind", ["file", "stream"])
def test_compressed_arrow_out_of_proportion_is_refused_before_it_is_read(tmp_path, kind, compression):
    path = tmp_path / "a.arrow"
    new = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
    small, large = pa.table({"text": ["a", "b"]}), pa.table({"text": ["x" * 2**20] * 150})
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.OSFile(str(path), "wb") as file, new(file, small.schema, options=options) as writer:
        for table in (small, large, small):
            writer.write_table(table)
    *good, damage = open_corpus(spec_of(path))
    assert [item.text for item in good] == ["a", "b"]
    assert (damage.reason, damage.origin.offset) == (Reason.DAMAGED_FILE, 2)
    assert damage.detail.startswith("decompression bomb?")
    assert peak_growth(path, "arrow") < 60


@pytest.mark.parametrize("kind", ["file", "stream"])
def test_a_dictionary_that_is_a_bomb_is_refused(tmp_path, kind):
    path = tmp_path / "a.arrow"
    new = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
    table = pa.table({"text": pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array(["x" * 2**26, "y" * 2**26]))})
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.OSFile(str(path), "wb") as file, new(file, table.schema, options=options) as writer:
        writer.write_table(table)
    (damage,) = open_corpus(spec_of(path))
    assert damage.detail.startswith("decompression bomb?")
    assert peak_growth(path, "arrow") < 60
