"""Ctrl-C, SIGTERM, cancel, and two commands at once: what is committed stays, and the run is resumed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path

import psutil
import pytest
import redis
from acceptance.conftest import Ask, Start
from chaos.disturbance import Command, rows, until, until_parts

from tasks.keys import run_key
from worker.address import client_url

DOCUMENTS = 100


@pytest.fixture
def job(many: Path, tiny_model: Path) -> tuple[object, ...]:
    """A hundred batches of one document: seconds of work."""
    return (
        many,
        "--limit",
        DOCUMENTS,
        "--model",
        tiny_model,
        "--batch-docs",
        1,
        "--dtype",
        "float32",
        "--devices",
        "cpu",
    )


def _said(command: Command) -> str:
    text = command.log.read_text()
    assert "Traceback" not in text
    return text


def _gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert alive == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_130_and_resumes(
    number: signal.Signals, job: tuple[object, ...], tmp_path: Path, start: Start, ask: Ask
) -> None:
    out = tmp_path / "out"
    command = start("run", *job, "--out", out)
    until_parts(out, 5, command)
    descendants = command.descendants()
    command.process.send_signal(number)
    assert command.wait() == 130
    assert (
        f"penstock: Interrupted by {number.name}; what is committed stays. `penstock resume {out}` goes on."
        in _said(command)
    )
    _gone(descendants)
    assert not (out / "_live.json").exists()
    status = ask("status", out, "--json").value
    assert (status["state"], status["live"]) == ("interrupted", False)
    assert status["committed"] >= 5
    assert status["advice"] == f"`penstock resume {out}` goes on."
    before = {path.name: path.stat().st_mtime_ns for path in (out / "data").iterdir()}
    answer = ask("resume", out, "--inline", "--json")
    assert answer.code == 0, answer.err
    assert answer.value["rows"] == DOCUMENTS
    after = {path.name: path.stat().st_mtime_ns for path in (out / "data").iterdir()}
    assert before.items() <= after.items()
    assert rows(out)["id"].to_pylist() == [str(number) for number in range(DOCUMENTS)]
    assert ask("verify", out).code == 0


def test_with_json_an_interrupt_is_an_object(job: tuple[object, ...], tmp_path: Path, start: Start) -> None:
    out = tmp_path / "out"
    command = start("run", *job, "--out", out, "--inline", "--json")
    until_parts(out, 2, command)
    command.process.send_signal(signal.SIGINT)
    assert command.wait() == 130
    error = json.loads(_said(command).splitlines()[-1])["error"]
    assert (error["code"], error["hint"]) == ("cancelled", f"`penstock resume {out}` goes on.")


def test_a_second_interrupt_ends_all_at_once(job: tuple[object, ...], tmp_path: Path, start: Start, ask: Ask) -> None:
    out = tmp_path / "out"
    command = start("run", *job, "--out", out)
    until_parts(out, 2, command)
    child = command.worker_child()
    while True:  # until it stands still with a batch in its hands, as one does that takes long
        child.suspend()
        committed = len(list((out / "data").iterdir()))
        if _holds_a_batch(out):
            break
        child.resume()
        until_parts(out, committed + 1, command)
    descendants = command.descendants()
    command.process.send_signal(signal.SIGINT)
    until(lambda: "a second Ctrl-C ends all at once" in command.log.read_text(), "a word on the interrupt", command)
    assert command.process.poll() is None
    command.process.send_signal(signal.SIGINT)
    assert command.wait() == 130
    with contextlib.suppress(psutil.NoSuchProcess):  # it may be gone already, stopped as it was
        child.resume()
    _gone(descendants)
    assert ask("status", out).code == 0
    answer = ask("resume", out, "--inline", "--json")
    assert answer.code == 0, answer.err
    assert answer.value["rows"] == DOCUMENTS


def _holds_a_batch(out: Path) -> bool:
    url = json.loads((out / "_live.json").read_text())["broker_url"]
    run = json.loads((out / "_run.json").read_text())["run"]
    with redis.Redis.from_url(client_url(url)) as client:
        return client.hlen(run_key(run, "leases")) > 0


def test_one_live_command_for_a_folder_and_cancel_from_elsewhere(
    job: tuple[object, ...], tmp_path: Path, start: Start, ask: Ask
) -> None:
    out = tmp_path / "out"
    job = (*job, "--limit", 300)
    command = start("run", *job, "--out", out)
    until_parts(out, 2, command)
    assert os.stat(out / "_live.json").st_mode & 0o777 == 0o600
    for second in (("run", *job, "--out", out), ("resume", out), ("run", *job, "--out", out, "--inline")):
        answer = ask(*second)
        assert answer.code == 3
        assert f"{out} is held by `penstock run` (process {command.process.pid} on " in answer.refusal
        assert "`penstock cancel`" in answer.refusal
    status = ask("status", out, "--json").value
    assert (status["state"], status["live"]) == ("running", True)
    assert status["ledger"]["documents"] > 0
    cancelled = ask("cancel", out, "--json")
    assert cancelled.code == 0, cancelled.err
    assert cancelled.value["state"] == "cancelled"
    assert command.wait() == 130
    assert f"penstock: The run was cancelled; what is committed stays. `penstock resume {out}` goes on." in _said(
        command
    )
    again = ask("cancel", out)
    assert again.code == 3
    assert ask("status", out, "--json").value["state"] == "cancelled"
    # The lock dies with its process, however it ends.
    killed = start("resume", out)
    until(lambda: (out / "_live.json").exists(), "a live command", killed)
    killed.process.kill()
    killed.wait()
    answer = ask("run", *job, "--out", out, "--inline", "--json")
    assert answer.code == 0, answer.err
    assert answer.value["rows"] == 300
    sealed = ask("cancel", out)
    assert sealed.code == 3
    assert "sealed" in sealed.refusal


def test_watch_is_left_by_an_interrupt(job: tuple[object, ...], tmp_path: Path, start: Start) -> None:
    out = tmp_path / "out"
    run = start("run", *job, "--out", out)
    until_parts(out, 1, run)
    child = run.worker_child()
    child.suspend()  # the run would be over before the watch begins, where both have to share a core
    watch = start("status", out, "--watch")
    until(lambda: ": running" in watch.log.read_text(), "a status", watch)
    watch.process.send_signal(signal.SIGINT)
    assert watch.wait() == 130
    assert _said(watch).rstrip().endswith("penstock: Interrupted.")
    last = start("status", out, "--watch", "--json")
    child.resume()
    assert run.wait() == 0, run.tail()
    assert last.wait() == 0
    (line,) = _said(last).splitlines()
    assert json.loads(line)["state"] == "sealed"
