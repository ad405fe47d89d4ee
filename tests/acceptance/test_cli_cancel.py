"""`cancel`: devices are free after the micro-batch at hand, parts stay, Redis keeps a word, `resume` goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis
from acceptance.commands import call
from acceptance.conftest import Ask, Start
from chaos.disturbance import Command, rows, until, until_parts

from tasks.keys import PREFIX, RUNS, run_key
from tasks.lead import is_led
from tasks.ledger import Ledger
from tasks.loading import loaders
from worker.broker import EmbeddedRedis

DOCUMENTS, PER_BATCH = 60, 6
NOOP = {
    "PENSTOCK_INCLUDE": "chaos.noop_model",
    "PYTHONPATH": str(Path(__file__).parents[1]),
    "NOOP_MICRO_BATCH": "1",
}
SLOW = NOOP | {"NOOP_PAUSE_S": "0.5"}


@pytest.fixture(scope="module")
def thin(make_model: Any, texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a checkpoint that nobody computes with."""
    model: Path = make_model(
        texts, tmp_path_factory.mktemp("thin") / "model", vocab_size=600, max_positions=130, hidden_size=8
    )
    return model


class Place(NamedTuple):
    """An empty Redis, and what to say to run something into a folder by it."""

    client: redis.Redis
    url: tuple[str, str]
    out: Path
    arguments: tuple[object, ...]

    @property
    def run(self) -> str:
        return str(json.loads((self.out / "_run.json").read_text())["run"])

    def held(self) -> set[str]:
        """What Redis holds of the run."""
        prefix = run_key(self.run, "")
        return {key.decode().removeprefix(prefix) for key in self.client.scan_iter(f"{prefix}*")}


@pytest.fixture
def place(many: Path, thin: Path, fresh_redis: EmbeddedRedis, tmp_path: Path) -> Iterator[Place]:
    out = tmp_path / "out"
    arguments = (many, "--limit", DOCUMENTS, "--out", out, "--model", thin, "--batch-docs", PER_BATCH)
    with redis.Redis.from_url(fresh_redis.client_url) as client:
        yield Place(client, ("--broker", fresh_redis.url), out, (*arguments, "--dtype", "float32"))


def _parts(place: Place) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (place.out / "data").iterdir()}


def _resumed(place: Place, tmp_path: Path, before: dict[str, int]) -> None:
    """The run goes on where it was: what was committed is still that."""
    answer = call(tmp_path, "resume", place.out, *place.url, "--devices", "cpu", "--json", **NOOP)
    assert answer.code == 0, answer.err
    assert before.items() <= _parts(place).items()
    assert rows(place.out)["id"].to_pylist() == [str(number) for number in range(DOCUMENTS)]
    assert call(tmp_path, "verify", place.out).code == 0


def test_a_run_that_a_supervisor_leads_is_cancelled_by_its_id(
    place: Place, tmp_path: Path, start: Start, ask: Ask
) -> None:
    assert ask("submit", *place.arguments, *place.url).code == 0
    worker = start("worker", "--devices", "cpu", *place.url, **SLOW)
    until_parts(place.out, 1, worker)
    ledger = Ledger(place.client, place.run)
    until(ledger.holders, "a batch in somebody's hands", worker)
    answer = ask("cancel", place.run[:8], *place.url, "--json")
    assert answer.code == 0, answer.err
    assert answer.value == {"run": place.run, "out": str(place.out), "state": "cancelled", "still_at_work": []}
    assert place.held() == {"state"}
    assert place.client.hlen(RUNS) == 0
    before = _parts(place)
    assert 0 < len(before) < DOCUMENTS // PER_BATCH
    assert ask("status", place.out, *place.url, "--json").value["state"] == "cancelled"
    again = ask("cancel", place.out, *place.url)
    assert again.code == 3
    assert again.refusal == (f"The run in {place.out} is cancelled already. `penstock resume {place.out}` goes on.")
    # The same worker does the next run: nothing of the last one is in its way.
    assert _log_is_calm(worker)
    assert _parts(place) == before
    _resumed(place, tmp_path, before)
    sealed = ask("cancel", place.out, *place.url)
    assert sealed.code == 3
    assert sealed.refusal == f"The run in {place.out} is sealed, there is nothing to cancel."


def test_the_batch_at_hand_is_dropped_and_not_finished(place: Place, tmp_path: Path, start: Start, ask: Ask) -> None:
    """A batch of sixty documents takes half a minute: `cancel` waits for one of them."""
    slow = (*place.arguments, "--batch-docs", DOCUMENTS)
    command = start("run", *slow, *place.url, "--devices", "cpu", **SLOW)
    until(lambda: (place.out / "_run.json").exists(), "a run", command)
    until(Ledger(place.client, place.run).holders, "a batch in somebody's hands", command)
    assert ask("cancel", place.out).code == 0
    assert command.wait() == 130
    assert not (place.out / "data").exists() or _parts(place) == {}
    assert place.held() == {"state"}
    _resumed(place, tmp_path, {})


@pytest.mark.parametrize("led", [True, False])
def test_a_cancelled_run_stays_so_when_redis_is_emptied_at_once(
    place: Place, tmp_path: Path, start: Start, ask: Ask, led: bool
) -> None:
    """Whoever leads the run, or has a batch of it in hand, reads in its folder what Redis has forgotten."""
    slow = (*place.arguments, "--batch-docs", DOCUMENTS // 2, *place.url)
    if led:
        worker = start("run", *slow, "--devices", "cpu", **SLOW)
    else:
        assert ask("submit", *slow).code == 0
        worker = start("worker", "--devices", "cpu", *place.url, **SLOW)
    until(lambda: (place.out / "_run.json").exists(), "a run", worker)
    ledger = Ledger(place.client, place.run)
    until(ledger.holders, "a batch in somebody's hands", worker)
    until(lambda: is_led(place.client, place.run), "a leader", worker)
    cancelling = start("cancel", place.out, *place.url)
    until(lambda: ledger.state().state == "cancelled", "the end", worker)
    place.client.flushall()
    assert cancelling.wait() == 0, cancelling.tail()
    if led:
        assert worker.wait() == 130
    else:
        until(lambda: "is dropped (stopped" in worker.log.read_text(), "the end of the batch at hand", worker)
        assert _log_is_calm(worker)
    assert list(place.out.glob("data/*")) == []
    assert place.held() == {"state"}
    assert ask("status", place.out, *place.url, "--json").value["state"] == "cancelled"
    again = ask("cancel", place.out, *place.url)
    assert again.refusal == f"The run in {place.out} is cancelled already. `penstock resume {place.out}` goes on."
    _resumed(place, tmp_path, {})


def test_who_loads_the_model_is_waited_for(place: Place, tiny_model: Path, many: Path, start: Start, ask: Ask) -> None:
    real = (many, "--limit", DOCUMENTS, "--out", place.out, "--model", tiny_model, "--dtype", "float32")
    assert ask("submit", *real, *place.url).code == 0
    worker = start("worker", "--devices", "cpu", *place.url, **(NOOP | {"PENSTOCK_INCLUDE": "chaos.slow_model"}))
    until(lambda: loaders(place.client, place.run), "a model being loaded", worker)
    answer = ask("cancel", place.out, *place.url, "--json")
    assert answer.code == 0, answer.err
    assert answer.value["still_at_work"] == []
    assert " loaded in " in worker.log.read_text()
    assert place.held() == {"state"}


def test_a_run_that_nobody_leads_any_more_is_cleared_away(place: Place, tmp_path: Path, start: Start, ask: Ask) -> None:
    """The feeder is dead, and so is the worker that held a batch."""
    feeder = start("submit", *place.arguments, *place.url, PENSTOCK_WINDOW="3")
    until(lambda: (place.out / "_plan" / "seg-00000000.json").exists(), "a plan", feeder)
    worker = start("worker", "--devices", "cpu", *place.url, PENSTOCK_LEASE_S="5", **SLOW)
    until(Ledger(place.client, place.run).holders, "a batch in somebody's hands", worker)
    for command in (feeder, worker):
        command.stop()
    assert any(key.startswith("body:") for key in place.held())
    assert ask("cancel", place.out, *place.url).code == 0
    assert place.held() == {"state"}
    _resumed(place, tmp_path, {})


def test_what_only_other_machines_see_is_cancelled_in_its_redis(place: Place, tmp_path: Path, ask: Ask) -> None:
    assert ask("submit", *place.arguments, *place.url).code == 0
    run = place.run
    place.out.rename(tmp_path / "elsewhere")
    answer = ask("cancel", run, *place.url)
    assert answer.code == 0, answer.err
    assert [key.decode() for key in place.client.scan_iter(f"{PREFIX}run:*")] == [run_key(run, "state")]


@pytest.mark.parametrize("which", ["0123456789abcdef", "no/such/folder", "../..x", "a\nb", "\x1b[31m", "r" * 5000])
def test_what_is_no_run_is_said_in_a_line(which: str, place: Place, ask: Ask) -> None:
    answer = ask("cancel", which, *place.url)
    assert answer.code == 3
    assert "is no folder, and no run known here begins so. `penstock status` lists the known ones." in answer.refusal
    assert "\x1b" not in answer.err


def test_a_folder_without_a_run_is_said_in_a_line(place: Place, tmp_path: Path, ask: Ask) -> None:
    assert ask("cancel", tmp_path, *place.url).refusal == (
        f"{tmp_path} holds no run of penstock. Name the folder that was given as --out."
    )


def _log_is_calm(worker: Command) -> bool:
    text = worker.log.read_text()
    return "Traceback" not in text and "started anew" not in text and worker.process.poll() is None
