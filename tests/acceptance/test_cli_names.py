"""Names as nobody should give them: refused in one line, or taken as data; never a path, never a bug."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from acceptance.commands import Answer
from acceptance.conftest import Ask

ODD = ["a\0b", "a\nb", "\x1b[2J", "../../x", "/etc/passwd", "x" * 5000, "\udcff", "", " ", "-", "=", ":", "{run}", "%s"]
TRY = ("--dtype", "float32", "--devices", "cpu", "--inline")
Places = dict[str, Callable[[str, Path], list[object]]]
IN_A_RUN: Places = {
    "out": lambda name, model: ["c.jsonl", "--out", name, "--model", model],
    "corpus": lambda name, model: [name, "--out", "out", "--model", model],
    "model": lambda name, model: ["c.jsonl", "--out", "out", "--model", name],
    "keep": lambda name, model: ["c.jsonl", "--out", "out", "--model", model, "--keep", name],
    "keep type": lambda name, model: ["c.jsonl", "--out", "out", "--model", model, "--keep", f"k:{name}"],
    "keep name": lambda name, model: ["c.jsonl", "--out", "out", "--model", model, "--keep", f"k={name}"],
    "classify": lambda name, model: ["c.jsonl", "--out", "out", "--model", model, "--classify", name],
    "classify name": lambda name, model: ["c.jsonl", "--out", "out", "--model", model, "--classify", f"{name}={model}"],
    "id column": lambda name, model: ["c.jsonl", "--out", "out", "--model", model, "--id-column", name],
    "text column": lambda name, model: ["c.jsonl", "--out", "out", "--model", model, "--text-column", name],
    "prefix": lambda name, model: ["c.jsonl", "--out", "out", "--model", model, "--prefix", name],
    "encoding": lambda name, model: ["c.jsonl", "--out", "out", "--model", model, "--encoding", name],
    "devices": lambda name, model: ["c.jsonl", "--out", "out", "--model", model, "--devices", name],
    "broker": lambda name, model: ["c.jsonl", "--out", "out", "--model", model, "--broker", name],
}
OF_A_RUN = [["status"], ["cancel"], ["resume"], ["verify"], ["quarantine", "list"], ["quarantine", "replay"]]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps({"id": "a", "text": "t", "k": 1}) + "\n")
    return path


def _is_in_order(answer: Answer) -> None:
    """Done, or refused in a line that cannot talk to a terminal."""
    assert answer.code in (0, 2, 3, 4, 5), answer.err
    assert len(answer.err.splitlines()) == (answer.code != 0)
    assert "\x1b" not in answer.out + answer.err
    assert "bug" not in answer.err


@pytest.mark.usefixtures("corpus")
@pytest.mark.parametrize("place", IN_A_RUN)
def test_a_run_with_an_odd_name(place: str, tiny_model: Path, tmp_path: Path, ask: Ask) -> None:
    for name in ODD:
        _is_in_order(ask("run", *IN_A_RUN[place](name, tiny_model), *TRY, "--dry-run"))
    assert {path.name for path in tmp_path.iterdir()} <= {"c.jsonl", "state"}


@pytest.mark.parametrize("command", OF_A_RUN, ids=" ".join)
def test_a_run_of_an_odd_name(command: list[str], ask: Ask) -> None:
    for name in ODD:
        _is_in_order(ask(*command, name))


@pytest.mark.usefixtures("corpus")
@pytest.mark.parametrize("name", ["../x", "a/b", "A", "1a", "a b", "a-b", "..", "a\nb"])
def test_a_classifiers_name_is_a_plain_word(name: str, tiny_model: Path, ask: Ask) -> None:
    answer = ask("run", *IN_A_RUN["classify name"](name, tiny_model), *TRY, "--dry-run")
    assert answer.code in (2, 3)
    assert answer.out == ""


def test_ids_and_columns_are_data_whatever_is_in_them(tiny_model: Path, tmp_path: Path, ask: Ask) -> None:
    ids = ["../../etc/passwd", "/etc/passwd", "a\0b", "a\nb", "\x1b[2J", "x" * 100_000, "..", "{run}", "", "\u202e"]
    lines = [{"id": name, "text": "t", "../../k": name} for name in ids]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    arguments = (
        "c.jsonl",
        "--out",
        "out",
        "--model",
        tiny_model,
        *TRY,
        "--keep",
        "../../k",
        "--keep",
        "../../k=/abs/k",
    )
    answer = ask("run", *arguments, "--batch-docs", 1)
    assert answer.code == 0, answer.err
    found = [pq.read_table(path) for path in sorted((tmp_path / "out" / "data").iterdir())]
    assert [table["id"][0].as_py() for table in found] == ids
    assert [table["../../k"][0].as_py() for table in found] == ids
    assert [table["/abs/k"][0].as_py() for table in found] == ids
    assert ask("verify", "out").code == 0
    assert {path.name for path in tmp_path.iterdir()} <= {"c.jsonl", "out", "state"}
