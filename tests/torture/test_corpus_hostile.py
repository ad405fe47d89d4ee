"""A corpus that names paths, and files that change under their reader."""

import json
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.corpus import CorpusOptions, discover, open_corpus
from pipelines.documents import Document, Reason
from pipelines.spec import CorpusSpec, Format, Shard

NAMES = [
    "../../escaped",
    "/tmp/penstock-escaped",
    "..",
    "~/.bashrc",
    "a\0b",
    "a\nb",
    "C:\\Windows\\win.ini",
    "$(touch escaped)",
    "%2e%2e%2fescaped",
    "{0.__class__}",
    "_SUCCESS",
    "data/part-00000000.parquet",
    "x" * 5000,
]

# Cuts the file that it reads, after the first item.
CUT = """
import os, sys
from pipelines.corpus import open_corpus
from pipelines.spec import CorpusSpec, Format, Shard
path = sys.argv[1]
items = []
for item in open_corpus(CorpusSpec((Shard(path, "a", Format(sys.argv[2]), "none", 0, 0),))):
    items.append(item)
    if len(items) == 1: os.truncate(path, os.path.getsize(path) // 2)
print(len(items), items[-1].reason)
"""


def test_ids_texts_and_column_names_never_become_paths(tmp_path, tiny_model, penstock):
    corpus = tmp_path / "corpus.jsonl"
    rows = [{"id": name, "text": f"{name} text", "../column": name} for name in NAMES]
    corpus.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"id": "../../reject", "text": ""}]))
    out = tmp_path / "out"
    before = {path for path in tmp_path.rglob("*") if path.name != "out"}
    done = penstock(
        "run", corpus, "--out", out, "--model", tiny_model, "--inline", "--batch-docs", 4, "--max-quarantined", 5,
        "--keep", "../column=../../kept",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {path for path in tmp_path.rglob("*") if out not in (path, *path.parents)} == before
    assert not os.path.lexists("/tmp/penstock-escaped")
    table = pq.read_table(out / "data")
    assert table["id"].to_pylist() == NAMES
    assert table["../../kept"].to_pylist() == NAMES
    names = {path.relative_to(out).parts[0] for path in out.rglob("*")}
    ours = {"data", "README.md", "_quarantine", "_run.json", "_lock", "_plan", "_manifest.json", "_SUCCESS", "_tmp"}
    assert names <= ours
    assert all(path.name.startswith("part-") for path in (out / "data").iterdir())


def test_a_glob_that_climbs_names_what_it_reads(tmp_path):
    for name in ("a/b/x.jsonl", "c/y.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b'{"text": "a"}\n')
    (shard,) = discover([f"{tmp_path}/a/../c/*.jsonl"], CorpusOptions()).shards
    assert (shard.uri, shard.name) == (str(tmp_path / "c" / "y.jsonl"), "y.jsonl")


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "arrow"])
def test_a_file_that_is_cut_while_it_is_read_kills_nobody(tmp_path, kind):
    path = tmp_path / "a"
    texts = [f"{n} " + os.urandom(500).hex() for n in range(20_000)]
    if kind == "jsonl":
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    elif kind == "parquet":
        pq.write_table(pa.table({"text": texts}), path, row_group_size=1000)
    else:
        table = pa.table({"text": texts})
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=1000)
    done = subprocess.run([sys.executable, "-c", CUT, path, kind], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    count, reason = done.stdout.split()
    assert int(count) < len(texts)
    assert reason == ("bad_json" if kind == "jsonl" else Reason.DAMAGED_FILE)


def test_a_name_within_the_text_is_text(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"id": "file:///etc/passwd", "text": "s3://bucket/key"}))
    (item,) = open_corpus(CorpusSpec((Shard(str(path), "../a", Format.JSONL, "none", 0, 0),)))
    assert isinstance(item, Document)
    assert (item.id, item.text) == ("file:///etc/passwd", "s3://bucket/key")
