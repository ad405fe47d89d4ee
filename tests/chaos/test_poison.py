"""Documents that kill the process that computes them: they alone are quarantined, all others have their rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.dataset as ds
import pytest
from chaos.disturbance import Command, rows

TESTS = Path(__file__).resolve().parents[1]
DOCUMENTS = 120


@pytest.mark.slow
def test_poison_is_found_and_nothing_else(
    start: Callable[..., Command], texts: list[str], tiny_model: Path, tmp_path: Path
) -> None:
    poison = {17: ("kill", "crash"), 48: ("hang", "timeout"), 49: ("segfault", "crash"), 100: ("device", "crash")}
    corpus, out = tmp_path / "corpus.jsonl", tmp_path / "out"
    with corpus.open("w", encoding="utf-8") as file:
        for number in range(DOCUMENTS):
            way = f" poison:{poison[number][0]}" if number in poison else ""
            file.write(json.dumps({"id": f"doc-{number}", "text": f"{texts[number]}{way}"}) + "\n")
    command = start(
        *("run", corpus, "--out", out, "--model", tiny_model, "--batch-docs", 40, "--max-quarantined", len(poison)),
        PENSTOCK_INCLUDE="chaos.poison",
        PYTHONPATH=str(TESTS),
        PENSTOCK_HANG_LIMIT_S="3",
    )
    assert command.wait() == 0, command.tail()
    expected = [f"doc-{number}" for number in range(DOCUMENTS) if number not in poison]
    assert rows(out).column("id").to_pylist() == expected
    quarantine = ds.dataset(out / "_quarantine", format="parquet").to_table().to_pylist()
    found = {row["id"]: (row["reason"], row["attempts"]) for row in quarantine}
    assert {key: reason for key, (reason, _) in found.items()} == {
        f"doc-{number}": reason for number, (_, reason) in poison.items()
    }
    assert all(attempts <= 20 for _, attempts in found.values())


def test_a_model_that_kills_whoever_loads_it_ends_the_run(
    start: Callable[..., Command], small_corpus: Path, tiny_model: Path, tmp_path: Path
) -> None:
    command = start(
        *("run", small_corpus, "--out", tmp_path / "out", "--model", tiny_model),
        PENSTOCK_INCLUDE="chaos.deadly_model",
        PYTHONPATH=str(TESTS),
    )
    assert command.wait() == 3, command.tail()
    assert "dies while it loads the model" in command.tail()
