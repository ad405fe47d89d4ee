"""What a file may become for its size, and the page headers that say it of Parquet."""

import io
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.corpus.bombs import FREE_BYTES, MAX_DECOMPRESSED_BYTES, MAX_RATIO, bytes_fault, rows_fault
from pipelines.corpus.parquet_limits import MAX_BATCH_ROWS, RefusedGroupError, batch_rows, known_places
from pipelines.corpus.parquet_pages import DICTIONARY_PAGE, BadPageError, pages


def written(table, **options):
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return io.BytesIO(sink.getvalue())


def place(chunk):
    start = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
    return start, start + chunk.total_compressed_size, chunk.num_values


def test_a_file_may_become_64_mb_or_a_hundred_times_its_size_and_never_more_than_a_terabyte():
    assert not bytes_fault(FREE_BYTES, 1)
    assert "to 1" in bytes_fault(FREE_BYTES + 1, 1)
    large = FREE_BYTES
    assert not bytes_fault(large * MAX_RATIO, large)
    assert f"more than {MAX_RATIO} to 1" in bytes_fault(large * MAX_RATIO + 1, large)
    assert not bytes_fault(MAX_DECOMPRESSED_BYTES, MAX_DECOMPRESSED_BYTES // 2)
    assert "split the file" in bytes_fault(MAX_DECOMPRESSED_BYTES + 1, MAX_DECOMPRESSED_BYTES // 2)


def test_rows_have_a_ratio_too():
    assert not rows_fault(2**20, 300)
    assert "1048577 rows in 300 bytes" in rows_fault(2**20 + 1, 300)
    assert not rows_fault(10**9, 10**7)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"data_page_version": "2.0", "compression": "zstd"},
        {"use_dictionary": False, "data_page_size": 300},
        {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}},
        {"write_page_index": True, "write_page_checksum": True, "compression": "none"},
    ],
)
def test_the_pages_of_a_column_have_its_values_and_bytes(options):
    table = pa.table({"text": [f"text {n % 900} " * 9 for n in range(5000)], "l": [["a", None]] * 5000})
    source = written(table, row_group_size=2000, **options)
    metadata = pq.read_metadata(source)
    for group in range(metadata.num_row_groups):
        for leaf in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(leaf)
            found = list(pages(source, *place(chunk)))
            data = [page for page in found if page.kind != DICTIONARY_PAGE]
            assert sum(page.values for page in data) == chunk.num_values
            # The headers themselves count as bytes of the column.
            assert 0 < chunk.total_uncompressed_size - sum(page.size for page in found) < 200 * len(found)


def test_bytes_that_are_no_pages_are_told_so():
    chance = random.Random(5)
    whole = written(pa.table({"text": [f"text {n}" for n in range(1000)]}), data_page_size=200)
    start, end, values = place(pq.read_metadata(whole).row_group(0).column(0))
    bad = 0
    for _ in range(2000):
        data = bytearray(whole.getvalue())
        for _ in range(3):
            data[start + chance.randrange(40)] = chance.randrange(256)
        try:
            list(pages(io.BytesIO(data), start, end, values))
        except BadPageError:
            bad += 1
    assert 1000 < bad < 2000
    for data in (b"", b"\xff" * 10**6, b"\x15" * 10**6, b"\x1c" * 10**6, b"\x18\xff\xff\xff\x7f" * 10**5):
        with pytest.raises(BadPageError):
            list(pages(io.BytesIO(data), 0, max(1, len(data)), 10))


def test_batches_are_as_large_as_the_largest_possible_value_allows():
    short, long = pa.table({"text": ["ab"] * 20_000}), pa.table({"text": ["x" * 2**22] + ["ab"] * 20_000})
    for table, rows in ((short, MAX_BATCH_ROWS), (long, 64)):
        source = written(table, compression="none")
        with pq.ParquetFile(source) as file:
            assert batch_rows(source, file, known_places(source), 0, ["text"]) <= rows
            assert batch_rows(source, file, known_places(source), 0, ["text"]) > rows // 4
            assert batch_rows(source, file, known_places(source), 0, []) == MAX_BATCH_ROWS


def test_a_row_group_out_of_proportion_is_refused():
    table = pa.table({"text": ["x" * 2**20 + str(n) for n in range(80)]})
    source = written(table, compression="zstd", use_dictionary=False, write_batch_size=1)
    with pq.ParquetFile(source) as file, pytest.raises(RefusedGroupError, match="row group 0: decompression bomb"):
        batch_rows(source, file, known_places(source), 0, ["text"])
