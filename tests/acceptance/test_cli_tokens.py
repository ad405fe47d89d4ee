"""Vectors of tokens and words from the command line: sealed, proved, verified, and what readers find."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from acceptance.commands import call, write_jsonl
from acceptance.conftest import OPTIONS, Ask
from chaos.disturbance import rows

TEXTS = ["The keeper’s “quiet” water turns 17 wheels.", "日本語 👩🏽‍🚀  twice\t\u200b…", "a", "so much of it " * 30]
WIDTH = 64


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokens")
    return write_jsonl(folder / "c.jsonl", [{"id": str(n), "text": text} for n, text in enumerate(TEXTS * 3)])


@pytest.fixture(scope="module")
def dataset(corpus: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tokens, words and embeddings over windows, computed by two workers behind Redis."""
    folder = tmp_path_factory.mktemp("sealed")
    job = (
        *("run", corpus, "--out", folder / "out", "--model", tiny_model, "--dtype", "float32", "--batch-docs", 5),
        *("--devices", "cpu:2", "--tokens", "last", "--words", "split@1..2", "--embed", "mean"),
        *("--long", "window", "--max-tokens", 60, "--stride", 10, "--proof", 2, "--json"),
    )
    answer = call(folder, *job)
    assert answer.code == 0, answer.err
    assert answer.value["state"] == "sealed"
    proof = answer.value["proof"]
    assert (proof["documents"], proof["not_made"]) == (2, "")
    assert 0 < proof["max_cosine_distance"] <= 1e-9
    return folder / "out"


def matrices(table: pa.Table, name: str) -> list[np.ndarray]:
    cells = (cell.values.flatten().to_numpy(zero_copy_only=False) for cell in table[name].combine_chunks())
    return [numbers.reshape(-1, WIDTH).astype(np.float64) for numbers in cells]


def test_what_workers_make_is_sealed_and_adds_up(dataset: Path, ask: Ask) -> None:
    assert ask("verify", dataset).code == 0
    table = rows(dataset)
    assert table.column_names == [
        *("id", "embedding", "tokens", "token_ids", "token_begins", "token_ends", "token_vectors"),
        *("words", "word_begins", "word_ends", "word_vectors", "n_tokens", "n_used", "n_windows", "input_digest"),
    ]
    kinds = [str(table.schema.field(name).type) for name in ("tokens", "token_ends", "word_begins", "token_vectors")]
    assert kinds == [
        *("list<element: string>", "list<element: int32>", "list<element: int32>"),
        f"list<element: fixed_size_list<element: float>[{WIDTH}]>",
    ]
    assert max(table["n_windows"].to_pylist()) > 1
    tokens, words = matrices(table, "token_vectors"), matrices(table, "word_vectors")
    for number, row in enumerate(table.drop_columns(["token_vectors", "word_vectors"]).to_pylist()):
        text = TEXTS[number % len(TEXTS)]
        assert len(row["tokens"]) == len(tokens[number]) == row["n_used"] == row["n_tokens"]
        assert len(row["words"]) == len(words[number])
        if row["n_windows"] == 1:
            np.testing.assert_allclose(tokens[number].mean(0), row["embedding"], atol=1e-5)
        assert "".join(row["words"][1:-1]) == "".join(text.split())
    last = table["words"].to_pylist()[0]
    assert last == ["<s>", *("The", "keeper", "’s", "“", "quiet", "”", "water", "turns", "17", "wheels", "."), "</s>"]
    assert "the vector of each token: the last layer of " in (dataset / "README.md").read_text()


def test_a_run_in_one_process_makes_the_same(
    dataset: Path, corpus: Path, tiny_model: Path, tmp_path: Path, ask: Ask
) -> None:
    job = ("run", corpus, "--out", tmp_path / "out", "--model", tiny_model, *OPTIONS, "--inline")
    asked = ("--tokens", "all", "--words", "blanks", "--vectors", "float16")
    long = ("--long", "window", "--max-tokens", 60, "--stride", 10)
    assert ask(*job, *asked, *long).code == 0
    table, other = rows(tmp_path / "out"), rows(dataset)
    assert "embedding" not in table.column_names
    assert str(table.schema.field("token_vectors_2").type) == (
        f"list<element: fixed_size_list<element: halffloat>[{WIDTH}]>"
    )
    for name in ("tokens", "token_ids", "token_begins", "token_ends"):
        assert table[name].to_pylist() == other[name].to_pylist()
    for halves, floats in zip(matrices(table, "token_vectors_2"), matrices(other, "token_vectors"), strict=True):
        np.testing.assert_allclose(halves, floats, rtol=1e-3, atol=1e-3)
    assert [words[1:-1] for words in table["words"].to_pylist()] == [text.split() for text in TEXTS * 3]
    assert table.schema.field("word_vectors").type == table.schema.field("token_vectors_0").type


def test_naughty_strings_have_all_their_words(test_data: Path, tiny_model: Path, tmp_path: Path, ask: Ask) -> None:
    texts = json.loads((test_data / "naughty_strings" / "blns.json").read_text())
    strings = write_jsonl(tmp_path / "c.jsonl", [{"id": str(n), "text": text} for n, text in enumerate(texts)])
    job = ("run", strings, "--out", tmp_path / "out", "--model", tiny_model, *OPTIONS[2:], "--inline")
    answer = ask(*job, "--tokens", "last", "--words", "split", "--long", "window", "--json")
    assert answer.code == 0, answer.err
    empty = sum(not text.strip() for text in texts)
    assert (answer.value["rows"], answer.value["quarantined"]) == (len(texts) - empty, empty)
    table = rows(tmp_path / "out")
    words = table.select(["id", "words"]).to_pylist()
    assert all("".join(row["words"][1:-1]) == "".join(texts[int(row["id"])].split()) for row in words)
    for found, wanted in zip(matrices(table, "word_vectors"), matrices(table, "token_vectors"), strict=True):
        np.testing.assert_allclose(found.sum(0), wanted.sum(0), rtol=1e-6, atol=1e-4)


def reader(name: str) -> ModuleType:
    """A reader's module; where it is missing the test is skipped, but never on the machine that decides."""
    try:
        return importlib.import_module(name)
    except ImportError:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"{name} is not installed")


def test_duckdb_and_polars_read_lists_of_vectors(dataset: Path) -> None:
    duckdb, polars = reader("duckdb"), reader("polars")
    wanted = rows(dataset)
    with duckdb.connect() as connection:
        found = connection.execute(
            f"SELECT words, typeof(word_vectors), word_vectors FROM read_parquet('{dataset}/data/*.parquet')"
        ).fetchall()
    assert [words for words, _, _ in found] == wanted["words"].to_pylist()
    assert {kind for _, kind, _ in found} == {"FLOAT[][]"}
    assert [vectors for _, _, vectors in found] == wanted["word_vectors"].to_pylist()
    frame = polars.read_parquet(dataset / "data")
    assert frame["tokens"].to_list() == wanted["tokens"].to_pylist()
    for cell, vectors in zip(frame["token_vectors"], matrices(wanted, "token_vectors"), strict=True):
        assert np.array_equal(cell.to_numpy(), vectors.astype(np.float32))


def test_floats_have_their_bytes_split_and_strings_a_dictionary(dataset: Path) -> None:
    part = sorted((dataset / "data").iterdir())[0]
    group = pq.ParquetFile(part).metadata.row_group(0)
    chunks = {group.column(number).path_in_schema: group.column(number) for number in range(group.num_columns)}
    assert "BYTE_STREAM_SPLIT" in chunks["token_vectors.list.element.list.element"].encodings
    assert "RLE_DICTIONARY" in chunks["tokens.list.element"].encodings
    assert not chunks["token_vectors.list.element.list.element"].is_stats_set


REFUSED = [
    (("--tokens", "last", "--pair-column", "id"), 2, "--tokens cannot be had with --pair-column"),
    (("--words", "split", "--vectors", "int8"), 2, "--words cannot be had with --vectors int8"),
    (("--words", "spacy"), 2, "there are no such words"),
    (("--tokens", "9"), 2, "there is no layer 9, the model has 2"),
]


@pytest.mark.parametrize(("words", "code", "wanted"), REFUSED, ids=[wanted for _, _, wanted in REFUSED])
def test_refusals_are_one_line(
    words: tuple[object, ...], code: int, wanted: str, corpus: Path, tiny_model: Path, tmp_path: Path, ask: Ask
) -> None:
    answer = ask("run", corpus, "--out", tmp_path / "out", "--model", tiny_model, *OPTIONS, *words)
    assert answer.code == code
    assert wanted in answer.refusal
    assert not (tmp_path / "out").exists()


def test_what_is_wrong_with_tokens_is_found_before_the_seal(corpus: Path, tiny_model: Path, tmp_path: Path) -> None:
    tests = Path(__file__).resolve().parents[1]
    job = ("run", corpus, "--out", tmp_path / "out", "--model", tiny_model, *OPTIONS, "--tokens", "0", "--proof", 1)
    answer = call(tmp_path, *job, "--json", PENSTOCK_INCLUDE="chaos.wrong_model", PYTHONPATH=str(tests))
    assert answer.code == 6
    assert json.loads(answer.out)["error"]["message"].startswith("The rows are not what the model gives: tokens of ")
