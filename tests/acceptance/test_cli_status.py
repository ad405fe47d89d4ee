"""`penstock status`: by folder, by id, all that are known, and what it advises."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from acceptance.commands import call
from acceptance.conftest import OPTIONS, Ask, Sealed


def test_a_sealed_run_by_folder(sealed: Sealed, ask: Ask) -> None:
    text = ask("status", sealed.out)
    assert text.code == 0
    assert text.out.splitlines() == [
        f"Run {sealed.answer.value['run']} in {sealed.out}: sealed",
        "  3 of 3 parts; 60 documents",
        "  60 rows, 0 in quarantine",
    ]
    value = ask("status", sealed.out, "--json").value
    assert {key: value[key] for key in ("state", "live", "planned", "committed", "documents_planned", "advice")} == {
        "state": "sealed", "live": False, "planned": 3, "committed": 3, "documents_planned": 60, "advice": "",
    }  # fmt: skip


def test_runs_are_found_by_the_beginning_of_their_id(sealed: Sealed, tmp_path: Path, ask: Ask) -> None:
    assert ask("status").out == "No runs are known here.\n"
    assert ask("status", "--json").value == {"runs": []}
    ids = {}
    for name in ("one", "two"):
        arguments = ("run", sealed.corpus, "--out", name, "--limit", 20, "--model", sealed.model, *OPTIONS, "--inline")
        ids[name] = ask(*arguments, "--json").value["run"]
    value = ask("status", "--json").value
    assert [(run["run"], run["out"]) for run in value["runs"]] == [(ids[name], str(tmp_path / name)) for name in ids]
    lines = ask("status").out.splitlines()
    assert all(line.split()[:2] == ["sealed", ids[name]] for line, name in zip(lines, ids, strict=True))
    assert ask("status", ids["two"][:6], "--json").value["out"] == str(tmp_path / "two")
    unknown = ask("status", "zzz")
    assert unknown.code == 3
    assert "`penstock status` lists the known ones" in unknown.refusal
    shutil.rmtree(tmp_path / "one")
    assert ask("status", ids["one"]).code == 3
    assert [run["run"] for run in ask("status", "--json").value["runs"]] == [ids["two"]]


def test_a_watched_run_that_is_over_is_shown_once(sealed: Sealed, ask: Ask) -> None:
    assert ask("status", sealed.out, "--watch").out.count(": sealed") == 1
    assert ask("status", sealed.out, "--watch", "--json").value["state"] == "sealed"


def test_a_run_without_its_redis_is_interrupted(sealed: Sealed, tmp_path: Path, ask: Ask) -> None:
    """What a killed machine leaves: parts, a plan, and the address of a Redis that is gone."""
    out = tmp_path / "out"
    shutil.copytree(sealed.out, out)
    for name in ("_SUCCESS", "_manifest.json", "_plan/SEALED.json", "data/part-00000002.parquet"):
        (out / name).unlink()
    live = {"command": "run", "pid": 1, "host": "gone", "broker_url": "redis+socket://:x@/tmp/gone/redis.sock"}
    (out / "_live.json").write_text(json.dumps(live))
    text = ask("status", out)
    assert text.code == 0
    assert text.out.splitlines() == [
        f"Run {sealed.answer.value['run']} in {out}: interrupted",
        "  2 parts; the corpus is read as far as 3 parts",
        f"  `penstock resume {out}` goes on.",
    ]
    assert ask("cancel", out).code == 3
    resumed = ask("resume", out, "--inline", "--json")
    assert resumed.code == 0, resumed.err
    assert (resumed.value["run"], resumed.value["rows"]) == (sealed.answer.value["run"], 60)
    assert not (out / "_live.json").exists()


def test_a_redis_that_is_away_is_the_environments_fault(sealed: Sealed, ask: Ask) -> None:
    away = ("--broker", "redis://127.0.0.1:1/0")
    assert ask("status", sealed.out, *away).code == 0
    for arguments in (("status", *away), ("worker", *away), ("resume", sealed.out.parent, *away)):
        answer = ask(*arguments)
        assert answer.code == 3, arguments
        assert "Traceback" not in answer.err


@pytest.mark.parametrize("command", ["status", "quarantine list", "verify"])
def test_looking_needs_no_torch(command: str, sealed: Sealed, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')\n")
    answer = call(tmp_path, *command.split(), sealed.out, PYTHONPATH=str(tmp_path))
    assert answer.code == 0, answer.err
