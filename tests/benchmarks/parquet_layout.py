"""What ways to write a part cost and give: write speed, size, and how fast three readers take it.

    python tests/benchmarks/parquet_layout.py [--rows 16384] [--width 768] [--rounds 5] [--threads 1]

The ways alternate within each round, so that a busy machine is as busy for all of them; medians of processor time,
which counts no waiting: run it with POLARS_MAX_THREADS=1. Vectors are of the spread of embeddings, once in float32 and
once as they come from bfloat16. Prints one Markdown table.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.features.embedding import vector_column
from pipelines.parts.schema import ROW_GROUP_ROWS, row_schema, writer_options

VECTORS = "embedding.list.element"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=16_384)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    pa.set_cpu_count(given.threads)
    print("| vectors | layout | write MB/s | size / raw | pyarrow MB/s | DuckDB MB/s | Polars MB/s |")
    print("|---|---|---|---|---|---|---|")
    for kind in ("float32", "from bfloat16"):
        table = rows_of(given.rows, given.width, rounded=kind != "float32")
        raw = 4 * given.rows * given.width
        with TemporaryDirectory() as folder:
            for name, figures in measured(table, Path(folder), given.rounds, given.threads).items():
                write_s, size, *read_s = figures
                speeds = " | ".join(f"{raw / seconds / 1e6:,.0f}" for seconds in (write_s, *read_s))
                first, rest = speeds.split(" | ", 1)
                print(f"| {kind} | {name} | {first} | {size / raw:.2f} | {rest} |", flush=True)


def rows_of(rows: int, width: int, *, rounded: bool) -> pa.Table:
    """Rows as a run with one embedding has them."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(0.0, 0.3, (rows, width)).astype(np.float32)
    if rounded:  # to the nearest number with eight bits of significand
        bits = vectors.view(np.uint32)
        vectors = ((bits + 0x8000) & 0xFFFF0000).astype(np.uint32).view(np.float32)
    counts = pa.array(rng.integers(8, 90, rows), pa.int32())
    columns = [
        pa.array([f"corpus.jsonl#{number * 251}" for number in range(rows)], pa.string()),
        vector_column(vectors, width),
        counts,
        counts,
        pa.array([rng.bytes(16) for _ in range(rows)], pa.binary(16)),
    ]
    return pa.Table.from_arrays(columns, schema=row_schema([pa.field("embedding", columns[1].type)], ()))


def layouts(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """Name → options of the writer; the first is the project's."""
    ours = {**writer_options(schema), "row_group_size": ROW_GROUP_ROWS}
    return {
        "penstock: split bytes, zstd 1": ours,
        "split bytes, zstd 3": {**ours, "compression_level": 3},
        "split bytes, lz4": {**ours, "compression": "lz4", "compression_level": None},
        "plain, zstd 1": {**ours, "use_byte_stream_split": []},
        "plain, no compression": {
            **ours,
            "use_byte_stream_split": [],
            "compression": "none",
            "compression_level": None,
        },
        "row groups of 2,048": {**ours, "row_group_size": 2048},
        "pages of 8 MB": {**ours, "data_page_size": 8 * 2**20},
        "pyarrow's defaults": {"row_group_size": ROW_GROUP_ROWS},
    }


def measured(table: pa.Table, folder: Path, rounds: int, threads: int) -> dict[str, list[float]]:
    """Name → seconds to write (into memory), bytes, seconds to read by pyarrow, DuckDB and Polars; medians."""
    database = duckdb.connect(config={"threads": threads})
    found: dict[str, list[list[float]]] = {}
    for _ in range(rounds):
        for name, options in layouts(table.schema).items():
            path, buffer = folder / "part.parquet", io.BytesIO()
            write_s = seconds(lambda buffer=buffer, options=options: pq.write_table(table, buffer, **options))
            path.write_bytes(buffer.getvalue())
            readers: list[Callable[[], object]] = [
                lambda path=path: pq.read_table(path),
                lambda path=path: database.execute(f"select sum(embedding[1]) from '{path}'").fetchall(),
                lambda path=path: pl.read_parquet(path),
            ]
            found.setdefault(name, []).append([write_s, path.stat().st_size, *map(seconds, readers)])
    database.close()
    return {name: [statistics.median(values) for values in zip(*rows, strict=True)] for name, rows in found.items()}


def seconds(work: Callable[[], object]) -> float:
    """The processor time that something takes."""
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main()
