"""Documents that cannot be processed: counted, shown with their address, and a limit on how many there may be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from acceptance.commands import SUMMARY_KEYS, call
from acceptance.conftest import OPTIONS, Ask
from chaos.disturbance import rows
from safetensors.numpy import load_file, save_file

BAD_LINES = {7: b'{"id": "seven", "text": "  "}', 17: b"{broken", 27: b"[1]", 37: b'{"id": "x", "text": 5}'}


@pytest.fixture(scope="module")
def bad(documents: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 60 documents, of which four are rejects."""
    lines = documents.read_bytes().splitlines()
    for number, line in BAD_LINES.items():
        lines[number] = line
    path = tmp_path_factory.mktemp("bad") / "bad.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


@pytest.fixture(scope="module")
def incomplete(bad: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What becomes of them with the default limit of 1 %."""
    folder = tmp_path_factory.mktemp("incomplete")
    answer = call(folder, "run", bad, "--out", "out", "--model", tiny_model, *OPTIONS, "--inline")
    assert answer.code == 5
    assert answer.out == ""
    assert f"penstock resume {folder}/out --max-quarantined 4" in answer.err
    assert "4 of 60 documents are in quarantine, --max-quarantined is 1%" in answer.err
    return folder / "out"


def test_too_many_are_5_with_a_manifest_and_without_success(incomplete: Path, ask: Ask) -> None:
    assert not (incomplete / "_SUCCESS").exists()
    manifest = json.loads((incomplete / "_manifest.json").read_text())
    assert (manifest["documents"], manifest["rows"], manifest["quarantined"]) == (60, 56, 4)
    assert len(manifest["parts"]) == 3
    assert manifest["parts"][0].keys() >= {"name", "batch", "rows", "bytes", "sha256"}
    assert ask("verify", incomplete).code == 6
    status = ask("status", incomplete, "--json").value
    assert (status["state"], status["documents"], status["rows"], status["quarantined"]) == ("incomplete", 60, 56, 4)
    assert "quarantine list" in status["advice"]


def test_each_is_shown_with_its_address_and_reason(incomplete: Path, bad: Path, ask: Ask) -> None:
    listed = ask("quarantine", "list", incomplete, "--json").value["quarantine"]
    assert {row["reason"]: row["documents"] for row in listed} == {
        "bad_json": 1, "empty_text": 1, "not_an_object": 1, "wrong_type": 1,
    }  # fmt: skip
    text = ask("quarantine", "list", incomplete)
    assert (text.code, len(text.out.splitlines())) == (0, 4)
    shown = ask("quarantine", "show", incomplete, "--json").value["quarantine"]
    assert [row["line"] - 1 for row in shown] == list(BAD_LINES)
    data = bad.read_bytes()
    for row, line in zip(shown, BAD_LINES.values(), strict=True):
        assert row["uri"] == str(bad)
        assert data[row["offset"] :].startswith(line)
        assert row.keys() == {
            "id", "uri", "offset", "line", "stage", "reason", "detail", "attempts", "excerpt", "text_sha256",
        }  # fmt: skip
    one = ask("quarantine", "show", incomplete, "--reason", "bad_json", "--limit", 1)
    assert "{broken" in one.out
    assert f"{bad}, line 18, offset" in one.out
    assert len(ask("quarantine", "show", incomplete, "--limit", 2, "--json").value["quarantine"]) == 2
    assert ask("quarantine", "list", incomplete, "--reason", "nonsense").code == 2


def test_an_empty_quarantine_is_said_to_be(documents: Path, tiny_model: Path, tmp_path: Path, ask: Ask) -> None:
    ask("run", documents, "--limit", 3, "--out", "out", "--model", tiny_model, *OPTIONS, "--inline")
    assert ask("quarantine", "list", "out").out == "The quarantine is empty.\n"
    assert ask("quarantine", "show", "out", "--json").value == {"quarantine": []}


def test_resume_with_a_higher_limit_seals(bad: Path, tiny_model: Path, tmp_path: Path, ask: Ask) -> None:
    arguments = ("run", bad, "--out", "out", "--model", tiny_model, *OPTIONS, "--inline")
    first = ask(*arguments, "--json")
    assert first.code == 5
    assert first.value.keys() >= SUMMARY_KEYS
    assert (first.value["state"], first.value["error"]["code"]) == ("incomplete", "incomplete")
    assert ask(*arguments).code == 5
    assert ask("resume", "out", "--inline", "--max-quarantined", 3).code == 5
    assert ask("resume", "out", "--max-quarantined", "several").code == 2
    answer = ask("resume", "out", "--inline", "--max-quarantined", 4, "--json")
    assert answer.code == 0, answer.err
    assert (answer.value["state"], answer.value["quarantined"]) == ("sealed", 4)
    assert "error" not in answer.value
    assert ask("verify", "out").code == 0
    assert ask(*arguments).code == 0
    assert rows(tmp_path / "out").num_rows == 56


def test_run_with_a_higher_limit_seals_too(bad: Path, tiny_model: Path, tmp_path: Path) -> None:
    """By the workers of a real run, whose rejects cross a process border."""
    arguments = ("run", bad, "--out", "out", "--model", tiny_model, *OPTIONS)
    assert call(tmp_path, *arguments, "--max-quarantined", "5%").code == 5
    answer = call(tmp_path, *arguments, "--max-quarantined", "7%")
    assert answer.code == 0, answer.err
    assert "4 in quarantine: 1 bad_json, 1 empty_text, 1 not_an_object, 1 wrong_type" in answer.out


def test_a_broken_model_fills_the_quarantine_not_the_dataset(
    documents: Path, tiny_model: Path, tmp_path: Path, ask: Ask
) -> None:
    model = tmp_path / "broken"
    model.mkdir()
    for file in tiny_model.iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    weights = load_file(model / "model.safetensors")
    name = next(name for name in weights if name.endswith("layer.1.output.dense.weight"))
    weights[name] = np.full_like(weights[name], np.nan)
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    arguments = ("run", documents, "--out", "out", "--model", model, *OPTIONS)
    answer = call(tmp_path, *arguments, "--json")
    assert answer.code == 5
    assert (answer.value["rows"], answer.value["quarantined"]) == (0, 60)
    assert "Traceback" not in answer.err
    listed = ask("quarantine", "list", "out", "--json").value["quarantine"]
    assert [(row["reason"], row["documents"]) for row in listed] == [("not_finite", 60)]
    assert ask("resume", "out", "--inline", "--max-quarantined", "100%").code == 0
    assert rows(tmp_path / "out").num_rows == 0
    assert ask("verify", "out").code == 0
