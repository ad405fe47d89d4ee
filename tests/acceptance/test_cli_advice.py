"""What is said of runs that are gone, unfinished, damaged or another Redis's; and what to do about them."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
from acceptance.commands import write_jsonl
from acceptance.conftest import OPTIONS, Ask, Sealed, Start
from chaos.disturbance import until_parts

from worker.remembered import last_broker, remember


@pytest.fixture
def copy(sealed: Sealed, tmp_path: Path) -> Path:
    """A dataset to damage."""
    out = tmp_path / "copy"
    shutil.copytree(sealed.out, out)
    return out


def _unfinish(out: Path) -> None:
    """What a command that was killed leaves."""
    for name in ("_SUCCESS", "_manifest.json", "_plan/SEALED.json", "data/part-00000002.parquet"):
        (out / name).unlink()


def test_a_run_that_is_gone_is_a_line_of_its_own(copy: Path, sealed: Sealed, tmp_path: Path, ask: Ask) -> None:
    run = sealed.answer.value["run"]
    for name in ("emptied", "damaged"):
        (tmp_path / name).mkdir()
        remember(f"{name}-run", tmp_path / name)
    (tmp_path / "damaged" / "_run.json").touch()
    for name in ("replaced-run", run):  # the first was removed, and another made in its place
        remember(name, copy)
    answer = ask("status")
    assert answer.code == 0
    assert [line.split()[:2] for line in answer.out.splitlines()] == [
        ["gone", "emptied-run"], ["damaged", "damaged-run"], ["sealed", run],
    ]  # fmt: skip
    assert [one["state"] for one in ask("status", "--json").value["runs"]] == ["gone", "damaged", "sealed"]


def test_a_run_that_another_redis_may_be_at_is_not_called_interrupted(copy: Path, sealed: Sealed, ask: Ask) -> None:
    run = sealed.answer.value["run"]
    _unfinish(copy)
    assert ask("status", copy, "--json").value["state"] == "interrupted"
    remember(run, copy, "redis://:sesame@127.0.0.1:1/0")
    assert last_broker(run) == "redis://:***@127.0.0.1:1/0"
    answer = ask("status", copy)
    assert answer.out.startswith(f"Run {run} in {copy}: unknown\n")
    assert "fed into redis://:***@127.0.0.1:1/0; name that with --broker" in answer.out
    assert "sesame" not in answer.out
    resumed = ask("resume", copy, "--inline", "--json")
    assert resumed.code == 0, resumed.err
    assert last_broker(run) == ""


def test_an_unfinished_run_is_to_be_resumed(copy: Path, ask: Ask) -> None:
    _unfinish(copy)
    answer = ask("verify", copy)
    assert answer.code == 6
    assert f"`penstock resume {copy}` goes on" in answer.refusal
    assert "Remove" not in answer.refusal


def test_what_would_seal_an_incomplete_run_can_be_copied(tiny_model: Path, tmp_path: Path, ask: Ask) -> None:
    out = tmp_path / "out"
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": "one"}, {"text": ""}])
    assert ask("run", corpus, "--out", out, "--model", tiny_model, *OPTIONS, "--inline").code == 5
    assert f"`penstock resume {out} --max-quarantined 1` seals it" in ask("status", out).out
    sealed = ask("resume", out, "--max-quarantined", 1, "--inline")
    assert sealed.out.startswith("Sealed: 1 row of 2 documents in 1 part, ")


def test_a_sealed_run_without_a_part_is_not_well(copy: Path, ask: Ask) -> None:
    (copy / "data" / "part-00000001.parquet").unlink()
    answer = ask("status", copy)
    assert "2 of 3 parts" in answer.out
    assert f"1 part missing: `penstock verify {copy}`" in answer.out
    assert ask("status", copy, "--json").value["advice"].startswith("1 part missing")


@pytest.mark.parametrize("text", ["", "not JSON"])
def test_a_damaged_run_document_is_no_reason_to_leave_the_data(copy: Path, text: str, ask: Ask) -> None:
    (copy / "_run.json").write_text(text)
    answer = ask("resume", copy)
    assert answer.code == 4
    assert f"{copy}/_run.json is {'empty' if not text else 'damaged'}" in answer.refusal
    assert "Restore it" in answer.refusal


def test_what_needs_a_redis_is_not_told_to_do_without(sealed: Sealed, tmp_path: Path, ask: Ask) -> None:
    away = ("--broker", "redis://127.0.0.1:1/0")
    job = (sealed.corpus, "--out", tmp_path / "out", "--model", sealed.model, *away)
    assert "leave them out" in ask("run", *job).refusal
    for arguments in (("submit", *job), ("worker", *away)):
        answer = ask(*arguments)
        assert answer.code == 3
        assert "correct --broker" in answer.refusal
        assert "leave" not in answer.refusal


@pytest.mark.parametrize("out", ["x" * 300, "/proc/nowhere/out"])
def test_a_folder_that_cannot_be_made_is_named_with_its_option(out: str, sealed: Sealed, ask: Ask) -> None:
    answer = ask("run", sealed.corpus, "--out", out, "--model", sealed.model, *OPTIONS, "--inline")
    assert answer.code == 3
    assert "--out" in answer.refusal


def test_a_run_without_redis_can_be_cancelled(
    many: Path, tiny_model: Path, tmp_path: Path, start: Start, ask: Ask
) -> None:
    out = tmp_path / "out"
    command = start(
        "run", many, "--out", out, "--model", tiny_model, "--inline", "--batch-docs", 1, "--dtype", "float32"
    )  # fmt: skip
    until_parts(out, 2, command)
    answer = ask("cancel", out)
    assert answer.code == 0, answer.err
    assert answer.out == f"Cancelled; `penstock resume {out}` goes on.\n"
    assert command.wait() == 130
    assert signal.Signals.SIGINT.name in command.log.read_text()
    assert ask("status", out, "--json").value["state"] == "interrupted"
