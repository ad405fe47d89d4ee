"""Runs whose workers read the corpus themselves: killed, resumed, and refused where the corpus cannot be seen."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chaos.disturbance import Command, rows, until_parts
from chaos.noop_model import vectors

from pipelines.parts.plan import Plan
from pipelines.parts.store import Store
from pipelines.parts.verify import verify

TESTS = Path(__file__).resolve().parents[1]
DOCUMENTS, BATCH_DOCUMENTS = 600, 15
ROWS = [{"id": f"doc-{number}", "text": f"document number {number},\nof many"} for number in range(DOCUMENTS)]
Start = Callable[..., Command]


def write_lines(path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))


def write_rows(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=200)


def write_table(path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "text"])
        writer.writeheader()
        writer.writerows(ROWS)


@pytest.fixture
def begin(start: Start, thin_model: Path) -> Start:
    """``begin("run", corpus, …)``: a command with the model that computes nothing, and two workers."""

    def command(*arguments: object) -> Command:
        more: list[object] = ["--devices", "cpu:2", "--transport", "reference", "--json"]
        if arguments[0] == "run":
            more += ["--model", thin_model, "--batch-docs", BATCH_DOCUMENTS, "--dtype", "float32"]
        settings = {
            "PENSTOCK_INCLUDE": "chaos.noop_model",
            "PYTHONPATH": str(TESTS),
            "NOOP_MICRO_BATCH": "5",
            "NOOP_PAUSE_S": "0.05",
        }
        return start(*arguments, *more, **settings)

    return command


@pytest.mark.parametrize("write", [write_lines, write_rows, write_table])
def test_a_killed_run_goes_on(begin: Start, tmp_path: Path, write: Callable[[Path], None]) -> None:
    out = tmp_path / "out"
    corpus = tmp_path / {"write_lines": "c.jsonl", "write_rows": "c.parquet", "write_table": "c.csv"}[write.__name__]
    write(corpus)
    command = begin("run", corpus, "--out", out)
    until_parts(out, 3, command)
    command.worker_child().kill()
    until_parts(out, 8, command)
    os.kill(command.process.pid, signal.SIGKILL)
    command.wait()
    command = begin("resume", out)
    assert command.wait() == 0, command.tail()
    found = rows(out)
    assert found["id"].to_pylist() == [row["id"] for row in ROWS]
    digests = found["input_digest"].to_pylist()
    found_vectors = np.stack(found["embedding"].to_numpy(zero_copy_only=False))
    np.testing.assert_array_equal(found_vectors, vectors(digests, found_vectors.shape[1]))
    assert verify(Store(out)) == []
    blind = [bool(entry.source_digest) for entry in Plan(Store(out)).entries()]
    assert blind == [write is not write_table] * (DOCUMENTS // BATCH_DOCUMENTS)


def test_a_corpus_that_no_worker_sees_ends_the_run(begin: Start, tmp_path: Path) -> None:
    corpus, out = tmp_path / "c.jsonl", tmp_path / "out"
    write_lines(corpus)
    command = begin("run", corpus, "--out", out)
    until_parts(out, 3, command)
    corpus.unlink()
    assert command.wait() == 3, command.tail()
    assert f"{corpus} cannot be read by this worker" in command.tail()


def test_a_corpus_that_was_written_to_ends_the_run(begin: Start, tmp_path: Path) -> None:
    corpus, out = tmp_path / "c.jsonl", tmp_path / "out"
    write_lines(corpus)
    command = begin("run", corpus, "--out", out)
    until_parts(out, 3, command)
    with corpus.open("r+b") as file:
        file.seek(-20, os.SEEK_END)
        file.write(b"?")
    assert command.wait() != 0, command.tail()
    assert f"{corpus} is not what it was when batch 39 was planned" in command.tail()
