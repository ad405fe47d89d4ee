"""What CORPUS may be: files, folders, globs, compressed files, several of them, and standard input."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from acceptance.commands import call, write_jsonl
from acceptance.conftest import OPTIONS, Ask, Sealed
from chaos.disturbance import rows, until


def test_several_arguments_keep_their_order(tiny_model: Path, tmp_path: Path, ask: Ask) -> None:
    """Each argument with its own format; folders and globs by path bytes; hidden files are skipped."""
    folder = tmp_path / "folder"
    write_jsonl(folder / "b.jsonl", [{"text": "b one"}, {"text": "b two"}])
    write_jsonl(folder / "Z.jsonl", [{"text": "Z one"}])
    write_jsonl(folder / "sub" / "a.jsonl", [{"text": "a one"}])
    write_jsonl(folder / "_hidden.jsonl", [{"text": "hidden"}])
    write_jsonl(folder / ".hidden" / "c.jsonl", [{"text": "hidden"}])
    (tmp_path / "table.csv").write_text('id,text\nx,"quoted, and\nbroken"\n')
    (tmp_path / "lines.txt").write_bytes(b"\xef\xbb\xbfline one\r\n\r\n\nline two")
    pq.write_table(pa.table({"text": ["parquet one"], "id": [7]}), tmp_path / "rows.parquet")
    with (
        pa.OSFile(str(tmp_path / "rows.arrow"), "wb") as file,
        pa.ipc.new_file(file, pa.schema([("text", "string")])) as out,
    ):
        out.write_table(pa.table({"text": ["arrow one"]}))
    arguments = (
        "table.csv",
        "folder",
        "lines.txt",
        "rows.parquet",
        str(tmp_path / "fol*" / "[bZ].jsonl"),
        "rows.arrow",
    )
    answer = ask("run", *arguments, "--out", "out", "--model", tiny_model, *OPTIONS, "--inline", "--json")
    assert answer.code == 0, answer.err
    assert rows(tmp_path / "out")["id"].to_pylist() == [
        "x",
        "Z.jsonl#0", "b.jsonl#0", "b.jsonl#18", "sub/a.jsonl#0",
        "lines.txt#3", "lines.txt#16",
        "7",
        "folder/Z.jsonl#0", "folder/b.jsonl#0", "folder/b.jsonl#18",
        "rows.arrow#0",
    ]  # fmt: skip
    assert (answer.value["blank_lines"], answer.value["duplicate_ids"], answer.value["documents"]) == (2, 0, 12)


def test_compression_is_seen_by_suffix_and_by_content(
    sealed: Sealed, tiny_model: Path, tmp_path: Path, ask: Ask
) -> None:
    data = sealed.corpus.read_bytes()
    packed = {
        "a.jsonl.gz": gzip.compress(data),
        "b.jsonl.zst": zstandard.compress(data),
        "c.jsonl.bz2": bz2.compress(data),
        "d.jsonl.xz": lzma.compress(data),
        "e": gzip.compress(data[: len(data) // 2]) + gzip.compress(data[len(data) // 2 :]),
    }
    for name, content in packed.items():
        (tmp_path / name).write_bytes(content)
    answer = ask("run", *packed, "--out", "out", "--model", tiny_model, *OPTIONS, "--inline", "--json")
    assert answer.code == 0, answer.err
    assert (answer.value["rows"], answer.value["duplicate_ids"]) == (300, 240)
    digests = rows(tmp_path / "out")["input_digest"].to_pylist()
    assert digests == 5 * rows(sealed.out)["input_digest"].to_pylist()


def test_a_mixed_folder_is_read_when_a_format_is_picked(tiny_model: Path, tmp_path: Path, ask: Ask) -> None:
    write_jsonl(tmp_path / "mixed" / "a.jsonl", [{"text": "a"}])
    (tmp_path / "mixed" / "b.txt").write_text("b\n")
    arguments = ("run", "mixed", "--model", tiny_model, *OPTIONS, "--inline")
    assert ask(*arguments, "--out", "out").code == 3
    answer = ask(*arguments, "--format", "text", "--out", "out")
    assert answer.code == 0
    assert rows(tmp_path / "out")["id"].to_pylist() == ["b.txt#0"]


def test_whole_files_and_files_without_a_header(tiny_model: Path, tmp_path: Path, ask: Ask) -> None:
    (tmp_path / "poems").mkdir()
    (tmp_path / "poems" / "one.txt").write_text("two\n\nlines\n")
    (tmp_path / "poems" / "two.md").write_text("another")
    whole = ask("run", "poems", "--whole-files", "--out", "whole", "--model", tiny_model, *OPTIONS, "--inline")
    assert whole.code == 0, whole.err
    assert rows(tmp_path / "whole")["id"].to_pylist() == ["one.txt#0", "two.md#0"]
    (tmp_path / "bare.tsv").write_text("k1\tfirst text\nk2\tsecond text\n")
    columns = ("--no-header", "--text-column", "1", "--id-column", "0")
    bare = ask("run", "bare.tsv", *columns, "--out", "bare", "--model", tiny_model, *OPTIONS, "--inline")
    assert bare.code == 0, bare.err
    assert rows(tmp_path / "bare")["id"].to_pylist() == ["k1", "k2"]


def test_another_encoding(tiny_model: Path, tmp_path: Path, ask: Ask) -> None:
    (tmp_path / "old.txt").write_bytes("le café\n".encode("latin-1"))
    strict = ask("run", "old.txt", "--out", "strict", "--model", tiny_model, *OPTIONS, "--inline")
    assert strict.code == 5
    assert "bad_encoding" in ask("quarantine", "list", "strict").out
    arguments = ("run", "old.txt", "--encoding", "latin-1", "--model", tiny_model, *OPTIONS, "--inline")
    assert ask(*arguments, "--out", "out").code == 0
    (tmp_path / "new.txt").write_text("le café\n")
    assert ask("run", "new.txt", "--out", "new", "--model", tiny_model, *OPTIONS, "--inline").code == 0
    old, new = (rows(tmp_path / name)["input_digest"].to_pylist() for name in ("out", "new"))
    assert old == new


@pytest.mark.parametrize("place", [("--inline",), ()])
def test_an_empty_corpus_is_a_dataset_without_rows(
    place: tuple[str, ...], tiny_model: Path, tmp_path: Path, ask: Ask
) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    answer = ask("run", "empty.jsonl", "--out", "out", "--model", tiny_model, *OPTIONS, *place, "--json")
    assert answer.code == 0, answer.err
    assert [answer.value[key] for key in ("documents", "rows", "parts", "blank_lines", "state")] == [
        *(0, 0, 1, 0, "sealed"),
    ]  # fmt: skip
    assert ask("verify", "out").code == 0
    assert "1 of 1 part; 0 documents" in ask("status", "out").out
    data = tmp_path / "out" / "data"
    names = ["id", "embedding", "n_tokens", "n_used", "input_digest"]
    assert rows(tmp_path / "out").column_names == names
    assert pytest.importorskip("polars").read_parquet(data).columns == names
    assert pytest.importorskip("pandas").read_parquet(data).shape == (0, 5)
    assert pytest.importorskip("duckdb").sql(f"FROM '{data}/*.parquet'").columns == names


def test_limit_reads_only_the_first(sealed: Sealed, tmp_path: Path, ask: Ask) -> None:
    arguments = ("--limit", 25, "--out", "out", "--model", sealed.model, *OPTIONS, "--inline", "--json")
    answer = ask("run", sealed.corpus, sealed.corpus, *arguments)
    assert answer.code == 0
    assert (answer.value["documents"], answer.value["parts"]) == (25, 2)
    assert rows(tmp_path / "out")["id"].to_pylist() == [f"doc-{number}" for number in range(25)]


def test_standard_input_is_kept_and_resumed(sealed: Sealed, tmp_path: Path, ask: Ask) -> None:
    data = sealed.corpus.read_bytes()
    arguments = ("run", "-", "--format", "jsonl", "--out", "out", "--model", sealed.model, *OPTIONS)
    first = call(tmp_path, *arguments, "--json", stdin=data)
    assert first.code == 0, first.err
    out = tmp_path / "out"
    assert rows(out)["input_digest"].equals(rows(sealed.out)["input_digest"])
    assert ask(*arguments, "--json", stdin=data).value["run"] == first.value["run"]
    (out / "_SUCCESS").unlink()
    (out / "data" / "part-00000002.parquet").unlink()
    answer = ask("resume", out, "--inline", "--json")
    assert answer.code == 0, answer.err
    assert answer.value["rows"] == 60
    assert ask("verify", out).code == 0
    assert ask(*arguments, stdin=data[: len(data) // 2]).code == 4


def test_standard_input_may_be_compressed_and_made_ids_are_stable(tiny_model: Path, tmp_path: Path, ask: Ask) -> None:
    data = gzip.compress(b"one line\nanother line\n", mtime=0)
    for out in ("a", "b"):
        arguments = ("run", "-", "--format", "text", "--out", out, "--model", tiny_model, *OPTIONS, "--inline")
        assert ask(*arguments, stdin=data).code == 0
    ids = rows(tmp_path / "a")["id"].to_pylist()
    assert ids == rows(tmp_path / "b")["id"].to_pylist()
    assert [made.rpartition("#")[2] for made in ids] == ["0", "9"]


def test_an_interrupt_while_standard_input_is_read_leaves_a_usable_folder(
    sealed: Sealed, tmp_path: Path, ask: Ask
) -> None:
    arguments = ("run", "-", "--format", "jsonl", "--out", "out", "--model", str(sealed.model), *map(str, OPTIONS))
    for number, expected in ((signal.SIGINT, b"penstock: "), (signal.SIGTERM, b"")):
        extra = ["--json"] if number is signal.SIGTERM else []
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", *arguments, *extra],
            cwd=tmp_path,
            env=os.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        until(lambda: list((tmp_path / "out" / "_corpus").glob("*.partial")), "a spooled input")
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert b"Traceback" not in err
        assert err.strip().startswith(expected)
        if extra:
            assert json.loads(out)["error"]["code"] == "cancelled"
        assert list((tmp_path / "out" / "_corpus").iterdir()) == []
    again = ask(*arguments, "--inline", stdin=sealed.corpus.read_bytes())
    assert again.code == 0, again.err
