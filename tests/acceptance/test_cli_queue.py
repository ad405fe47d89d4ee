"""`submit` on one side of a Redis, `worker` on the other."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
import redis
from acceptance.commands import SUMMARY_KEYS, Answer, call
from acceptance.conftest import Ask, Sealed, Start
from chaos.disturbance import Command, rows, until

from tasks.keys import run_key
from worker.address import client_url
from worker.broker import EmbeddedRedis

OPTIONS = ("--batch-docs", 20, "--dtype", "float32")


class Crew(NamedTuple):
    """A Redis with a worker on it."""

    url: str
    worker: Command


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    folder = tmp_path_factory.mktemp("crew")
    with EmbeddedRedis(256 * 2**20) as server:
        worker = Command(folder, "worker", "--devices", "cpu:2", "--broker", server.url)
        yield Crew(server.url, worker)
        worker.stop()


def test_submit_and_wait_is_run(crew: Crew, sealed: Sealed, tmp_path: Path, ask: Ask) -> None:
    arguments = ("submit", sealed.corpus, "--out", "out", "--model", sealed.model, *OPTIONS, "--broker", crew.url)
    answer = call(tmp_path, *arguments, "--wait", "--json")
    assert answer.code == 0, answer.err
    assert answer.value.keys() >= SUMMARY_KEYS
    assert (answer.value["state"], answer.value["rows"]) == ("sealed", 60)
    assert {worker["slot"] for worker in answer.value["workers"]} <= {"cpu:0", "cpu:1"}
    assert rows(tmp_path / "out")["input_digest"].equals(rows(sealed.out)["input_digest"])
    again = ask(*arguments)
    assert again.code == 0
    assert again.out.startswith("Sealed: 60 rows")
    assert ask(*arguments[:-2], "--broker", crew.url, "--limit", 3).code == 4


def test_submit_ends_and_the_workers_seal(
    crew: Crew, sealed: Sealed, tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_BROKER_URL", crew.url)
    out = tmp_path / "out"
    answer = ask("submit", sealed.corpus, "--out", out, "--model", sealed.model, *OPTIONS, "--json")
    assert answer.code == 0, answer.err
    value = answer.value
    assert (value["state"], value["documents"], value["batches"], value["out"]) == ("running", 60, 3, str(out))
    assert value["live_workers"] == 2
    watched = ask("status", value["run"][:8], "--watch", "--json")
    assert watched.code == 0
    assert (watched.value["state"], watched.value["rows"]) == ("sealed", 60)
    assert (out / "_SUCCESS").exists()
    assert ask("verify", out).code == 0
    assert crew.worker.process.poll() is None


def test_a_run_that_is_over_is_left_alone(
    crew: Crew, sealed: Sealed, tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Incomplete and cancelled runs wait for a person; the supervisor does not seal them again and again."""
    monkeypatch.setenv("PENSTOCK_BROKER_URL", crew.url)
    corpus = tmp_path / "bad.jsonl"
    corpus.write_text('{"text": "good"}\n{"text": ""}\n')
    arguments = ("submit", corpus, "--out", "out", "--model", sealed.model, *OPTIONS)
    answer = ask(*arguments, "--wait")
    assert answer.code == 5
    manifest = (tmp_path / "out" / "_manifest.json").stat().st_mtime_ns
    with redis.Redis.from_url(client_url(crew.url)) as client:
        run = json.loads((tmp_path / "out" / "_run.json").read_text())["run"]
        client.delete(run_key(run, "leader"))
    time.sleep(5)  # more than two looks of the supervisor
    assert (tmp_path / "out" / "_manifest.json").stat().st_mtime_ns == manifest
    assert crew.worker.log.read_text().count(run) == crew.worker.log.read_text().count(f"run={run}")
    sealing = ask("submit", corpus, "--out", "out", "--model", sealed.model, *OPTIONS, "--wait", "--max-quarantined", 1)
    assert sealing.code == 0, sealing.err


def test_a_submitted_run_is_cancelled_and_resumed(
    crew: Crew, many: Path, sealed: Sealed, tmp_path: Path, start: Start, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_BROKER_URL", crew.url)
    out = tmp_path / "out"
    arguments = (many, "--out", out, "--model", sealed.model, "--batch-docs", 1, "--dtype", "float32", "--limit", 120)
    command = start("submit", *arguments, "--wait")
    until(lambda: len(list((out / "data").glob("*"))) > 2, "some parts", command)
    assert ask("cancel", out).code == 0
    assert command.wait() == 130
    status = ask("status", out, "--json").value
    assert status["state"] == "cancelled"
    committed = status["committed"]
    assert committed < 120
    time.sleep(1)
    assert ask("status", out, "--json").value["committed"] == committed
    text = ask("status", out).out
    assert f"`penstock resume {out}` goes on." in text
    answer = call(tmp_path, "submit", *arguments, "--wait", "--json")
    assert answer.code == 0, answer.err
    assert answer.value["rows"] == 120


def test_a_model_that_workers_cannot_see_fails_the_run_without_an_attempt(
    fresh_redis: EmbeddedRedis, sealed: Sealed, tmp_path: Path, start: Start, ask: Ask
) -> None:
    model = tmp_path / "model"
    shutil.copytree(sealed.model, model)
    out = tmp_path / "out"
    url = ("--broker", fresh_redis.url)
    submitted = ask("submit", sealed.corpus, "--out", out, "--model", model, *OPTIONS, *url)
    assert submitted.code == 0
    assert "No worker listens yet (`penstock worker` starts one)" in submitted.out
    assert "No worker listens to its Redis" in ask("status", out, *url).out
    model.rename(tmp_path / "moved")
    worker = start("worker", "--devices", "cpu", *url)
    status = until(lambda: _if_state(ask("status", out, "--json", *url), "failed"), "the end of the run", worker)
    message = status["ledger"]["message"]
    assert message.startswith(f"There is no model folder '{model}'.")
    assert message in ask("status", out, *url).out
    assert f"`penstock resume {out}` goes on." in ask("status", out, *url).out
    with redis.Redis.from_url(fresh_redis.client_url) as client:
        assert client.hlen(run_key(status["run"], "attempts")) == 0
        assert client.hlen(run_key(status["run"], "dead")) == 0
    assert "Traceback" not in worker.log.read_text()
    waiting = call(tmp_path, "resume", out, *url, "--devices", "cpu")
    assert waiting.code == 3
    assert waiting.err.splitlines()[-1].startswith(f"penstock: There is no model folder '{model}'.")
    (tmp_path / "moved").rename(model)
    found = call(tmp_path, "resume", out, *url, "--devices", "cpu")
    assert found.code == 0, found.err
    assert ask("verify", out).code == 0


def test_a_folder_that_workers_cannot_see_is_said_and_uses_no_attempt(
    fresh_redis: EmbeddedRedis, sealed: Sealed, tmp_path: Path, start: Start, ask: Ask
) -> None:
    out = tmp_path / "out"
    url = ("--broker", fresh_redis.url)
    submitted = ask("submit", sealed.corpus, "--out", out, "--model", sealed.model, *OPTIONS, *url, "--json")
    assert submitted.code == 0
    out.rename(tmp_path / "elsewhere")
    worker = start("worker", "--devices", "cpu", *url)
    said = f"{out} holds no run that this machine can see."
    until(lambda: said in worker.log.read_text(), "a word of the worker", worker)
    with redis.Redis.from_url(fresh_redis.client_url) as client:
        assert client.hlen(run_key(submitted.value["run"], "attempts")) == 0
    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait() == 0
    (tmp_path / "elsewhere").rename(out)
    answer = call(tmp_path, "resume", out, *url, "--devices", "cpu", "--json")
    assert answer.code == 0, answer.err
    assert answer.value["rows"] == 60


def test_a_feeder_that_was_killed_is_said_to_be_missing(
    fresh_redis: EmbeddedRedis, many: Path, sealed: Sealed, tmp_path: Path, start: Start, ask: Ask
) -> None:
    out = tmp_path / "out"
    url = ("--broker", fresh_redis.url)
    arguments = ("--out", out, "--model", sealed.model, "--batch-docs", 1, "--dtype", "float32", *url)
    feeder = start("submit", many, *arguments, PENSTOCK_WINDOW="4")  # nobody works: it stands still in the corpus
    until(lambda: (out / "_plan" / "seg-00000000.json").exists(), "a plan", feeder)
    feeder.process.kill()
    feeder.wait()
    status = ask("status", out, *url)
    assert ask("status", out, *url, "--json").value["live_workers"] == 0
    assert "Nobody reads its corpus any more" in status.out
    assert f"`penstock resume {out}` goes on" in status.out
    assert ask("cancel", out, *url).code == 0
    assert ask("status", out, *url, "--json").value["state"] == "cancelled"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_ends_in_order_with_0(number: signal.Signals, crew: Crew, tmp_path: Path, start: Start) -> None:
    worker = start("worker", "--devices", "cpu", "--broker", crew.url)
    worker.worker_child()
    descendants = worker.descendants()
    worker.process.send_signal(number)
    assert worker.wait() == 0
    assert "Traceback" not in worker.log.read_text()
    assert psutil.wait_procs(descendants, timeout=30)[1] == []


def _if_state(answer: Answer, state: str) -> dict[str, object] | None:
    return answer.value if answer.value["state"] == state else None
