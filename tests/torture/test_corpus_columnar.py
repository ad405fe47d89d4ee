"""Parquet and Arrow files that lie, break off or were flipped: rejects, never a crash of the process."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.corpus import CorpusOptions, KeepOption, discover, open_corpus
from pipelines.documents import Document, Reason
from pipelines.spec import CorpusSpec, Format, Shard

TABLE = pa.table({"text": [f"text {n} " + "x" * (n % 50) for n in range(500)], "n": range(500)})

FUZZ = """
import random, sys
from pathlib import Path
from pipelines.corpus import open_corpus
from pipelines.documents import CORPUS_START
from pipelines.spec import CorpusSpec, Format, KeptColumn, Shard

path, kind = Path(sys.argv[1]), Format(sys.argv[2])
whole = path.read_bytes()
chance = random.Random(3)
for attempt in range(150):
    data = bytearray(whole)
    for _ in range(chance.choice([1, 1, 4])):
        data[chance.randrange(len(data))] = chance.randrange(256)
    if attempt % 5 == 0:
        del data[chance.randrange(len(data)):]
    path.write_bytes(data)
    shard = Shard(str(path), "a", kind, "none", len(data), 0)
    keep = (KeptColumn("n", "int64", "n"), KeptColumn("text", "string", "t"))
    reader = open_corpus(CorpusSpec((shard,), keep=keep))
    items, cursors = [], [reader.cursor]
    for item in reader:
        items.append(item)
        cursors.append(reader.cursor)
    middle = len(items) // 2
    assert list(open_corpus(CorpusSpec((shard,), keep=keep), cursors[middle])) == items[middle:], attempt
"""


def write(path, kind, **options):
    if kind == "parquet":
        pq.write_table(TABLE, path, **options)
        return
    new = pa.ipc.new_file if kind == "arrow" else pa.ipc.new_stream
    with pa.OSFile(str(path), "wb") as file, new(file, TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=100)


def read(path, format_):
    size = path.stat().st_size
    return list(open_corpus(CorpusSpec((Shard(str(path), "a", format_, "none", size, 0),))))


@pytest.mark.parametrize("kind", ["parquet", "arrow", "stream"])
def test_flipped_bytes_never_crash_the_process(tmp_path, kind):
    path = tmp_path / "a"
    write(path, kind, **({"row_group_size": 100, "data_page_size": 500} if kind == "parquet" else {}))
    format_ = "parquet" if kind == "parquet" else "arrow"
    done = subprocess.run([sys.executable, "-c", FUZZ, path, format_], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("kind", ["arrow", "stream"])
def test_arrow_cut_short_is_used_up_to_the_cut(tmp_path, kind):
    path = tmp_path / "a"
    write(path, kind)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    *good, last = read(path, Format.ARROW)
    assert len(good) in {100, 200, 300}
    assert [item.text for item in good] == TABLE["text"].to_pylist()[: len(good)]
    assert (last.reason, last.origin.offset) == (Reason.DAMAGED_FILE, len(good))


def test_an_arrow_file_without_its_footer_is_used_and_reported(tmp_path):
    path = tmp_path / "a"
    write(path, "arrow")
    path.write_bytes(path.read_bytes()[:-20])
    *good, last = read(path, Format.ARROW)
    assert len(good) == 500
    assert last.reason is Reason.DAMAGED_FILE


def test_parquet_with_a_damaged_page_is_used_up_to_the_page(tmp_path):
    path = tmp_path / "a"
    write(path, "parquet", row_group_size=250, data_page_size=400, write_batch_size=20, use_dictionary=False)
    second = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    middle = second.data_page_offset + second.total_compressed_size // 2
    data[middle : middle + 40] = b"\xff" * 40
    path.write_bytes(data)
    *good, last = read(path, Format.PARQUET)
    assert 250 < len(good) < 500
    assert [item.text for item in good] == TABLE["text"].to_pylist()[: len(good)]
    assert (last.reason, last.origin.offset) == (Reason.DAMAGED_FILE, len(good))


@pytest.mark.parametrize(
    "data", [b"", b"PAR1", b"PAR1" * 3, b"ARROW1", b"ARROW1\0\0", b"\xff" * 100, b"\xff\xff\xff\xff\xff\xff\xff\x7f"]
)
@pytest.mark.parametrize("format_", [Format.PARQUET, Format.ARROW])
def test_files_that_are_nothing_of_the_kind(tmp_path, data, format_):
    path = tmp_path / "a"
    path.write_bytes(data)
    assert [item.reason for item in read(path, format_)] == [Reason.DAMAGED_FILE]


def test_offsets_that_point_outside_are_damage(tmp_path):
    path = tmp_path / "a"
    table = pa.table({"text": ["fine", "text"]})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    data = path.read_bytes()
    offsets, wrong = (b"".join(n.to_bytes(4, "little") for n in (0, 4, end)) for end in (8, 2**30))
    assert data.count(offsets) == 1
    path.write_bytes(data.replace(offsets, wrong))
    assert [item.reason for item in read(path, Format.ARROW)] == [Reason.DAMAGED_FILE]


def test_a_footer_with_other_columns_than_the_beginning_is_damage(tmp_path):
    path = tmp_path / "a"
    table = pa.table({"text": ["fine"], "qqqq": [1]})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    whole = path.read_bytes()
    assert whole.count(b"qqqq") == 2
    path.write_bytes(whole.replace(b"qqqq", b"rrrr", 1))
    (damage,) = read(path, Format.ARROW)
    assert damage.detail == "its footer has other columns than its beginning"


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("name", ["a.arrow", "a.parquet"])
def test_a_column_whose_name_is_not_utf8_costs_no_more_than_itself_or_its_file(tmp_path, name, nested):
    path = tmp_path / name
    table = pa.table({"text": ["fine"], "s": [{"qqqq": 1}]} if nested else {"text": ["fine"], "qqqq": [1]})
    if name == "a.arrow":
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    else:
        pq.write_table(table, path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"qqqq", b"qq\xff\xff"))
    keep = (KeepOption("s"),) if nested else ()
    (item,) = open_corpus(discover([str(path)], CorpusOptions(keep=keep)))
    if isinstance(item, Document):
        assert item.kept == (None,) * len(keep)
    else:
        assert item.reason is Reason.DAMAGED_FILE


def test_rows_without_any_used_column_are_rejects_one_by_one(tmp_path):
    for kind in ("parquet", "arrow"):
        path = tmp_path / kind
        write(path, kind)
        spec = CorpusSpec(
            (Shard(str(path), "a", Format(kind), "none", 0, 0),), text_columns=("nowhere",), id_column=None
        )
        reasons = [item.reason for item in open_corpus(spec)]
        assert reasons == [Reason.MISSING_TEXT] * 500


def test_the_bad_files_of_parquet_testing():
    if "PENSTOCK_TEST_DATA" not in os.environ:
        pytest.skip("PENSTOCK_TEST_DATA is not set")
    files = sorted(Path(os.environ["PENSTOCK_TEST_DATA"], "parquet_bad").glob("*.parquet"))
    assert len(files) == 8
    damaged = []
    for path in files:
        try:
            names = pq.read_schema(path).names
        except OSError:
            names = ["text"]
        keep = tuple(KeepOption(name, "json", f"k{index}") for index, name in enumerate(names))
        options = CorpusOptions(text_columns=(names[0],), keep=keep if names != ["text"] else ())
        items = list(open_corpus(discover([str(path)], options)))
        damaged += [path.name] if items[-1].reason is Reason.DAMAGED_FILE else []
    # The one left has a dictionary index without bits, which is odd but can be read.
    assert {path.name for path in files} - set(damaged) == {"ARROW-GH-43605.parquet"}


CONTRADICTING = """
import sys
from pipelines.corpus import open_corpus
from pipelines.spec import CorpusSpec, Format, Shard

shards = tuple(Shard(path, path, Format.PARQUET, "none", 1, 0) for path in sys.argv[1:])
for item in open_corpus(CorpusSpec(shards)):
    print(getattr(item, "reason", item.id))
"""


@pytest.mark.parametrize("column", ["text", "other"])
def test_statistics_that_contradict_the_schema_neither_end_the_process_nor_cost_what_is_good(tmp_path, column):
    """A histogram of one level where the column has two: asking pyarrow about that column ends the process."""
    values = [f"text {n}" for n in range(20)]
    paths = [tmp_path / name for name in ("bad", "good")]
    for path in paths:
        pq.write_table(pa.table({"text": values, "other": values}), path)
    data = paths[0].read_bytes()
    two_levels, one_level = b"\x26\x00\x28", b"\x16\x80\x50"  # a list of the i64 0 and 20; one of a single longer i64
    assert data.count(two_levels) == 2
    place = data.index(two_levels) if column == "text" else data.rindex(two_levels)
    paths[0].write_bytes(data[:place] + one_level + data[place + 3 :])
    reading = subprocess.run([sys.executable, "-c", CONTRADICTING, *paths], capture_output=True, text=True, check=False)
    assert reading.returncode == 0, reading.stderr[-2000:]
    answers = reading.stdout.splitlines()
    if column == "text":
        assert answers.pop(0) == Reason.DAMAGED_FILE
    assert len(answers) == len(set(answers)) == (20 if column == "text" else 40)
