"""A password and a text are planted; whatever is run, and whatever goes wrong, no byte of either is said anywhere."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import psutil
import pytest
import redis
from acceptance.commands import call
from acceptance.conftest import Start
from chaos.disturbance import Command, rows, until

from tasks.keys import QUEUE_LIST, body_key
from worker.broker import EmbeddedRedis

PASSWORD = "pw:s/t@u %4V-97531"
QUOTED = quote(PASSWORD, safe="")
WRONG = "wr/ng@97531"
TEXT = "patient-0042-has-the-plague"
FORBIDDEN = [PASSWORD, QUOTED, quote(QUOTED, safe=""), "4V-97531", WRONG, quote(WRONG, safe=""), TEXT]
NOOP = {"PENSTOCK_INCLUDE": "chaos.noop_model", "PYTHONPATH": str(Path(__file__).parents[1])}
OPTIONS = ("--batch-docs", 5, "--dtype", "float32", "--keep", "note", "--keep", "number:int64")


class Place(NamedTuple):
    """A Redis with the password, and a corpus with the text in every column."""

    server: EmbeddedRedis
    url: str
    corpus: Path
    model: Path

    def client(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.server.socket), password=PASSWORD)


@pytest.fixture(scope="module")
def thin(make_model: Any, texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a checkpoint that nobody computes with."""
    model: Path = make_model(
        texts, tmp_path_factory.mktemp("thin") / "model", vocab_size=600, max_positions=130, hidden_size=8
    )
    return model


@pytest.fixture
def place(thin: Path, fresh_redis: EmbeddedRedis, tmp_path: Path) -> Iterator[Place]:
    with redis.Redis.from_url(fresh_redis.client_url) as client:
        client.config_set("requirepass", PASSWORD)
        url = f"redis+socket://:{QUOTED}@{quote(str(fresh_redis.socket))}?virtual_host=0"
        lines = [{"text": f"{TEXT} {number}", "note": TEXT, "number": number} for number in range(20)]
        odd = [
            {"text": [TEXT], "note": 1},
            {"text": TEXT, "number": TEXT},
            {"note": TEXT},
            {"text": TEXT, "note": [TEXT]},
        ]
        corpus = tmp_path / "corpus.jsonl"
        broken = f'{{"text": "{TEXT}'
        corpus.write_text("\n".join([*map(json.dumps, [*lines, *odd]), broken, f"[{json.dumps(TEXT)}]", ""]))
        yield Place(fresh_redis, url, corpus, thin)


def _silent(what: str, data: bytes, *, texts: bool = True) -> None:
    for secret in FORBIDDEN if texts else FORBIDDEN[:-1]:
        assert secret.encode() not in data, f"{what} says {secret}: …{data[-2000:].decode(errors='replace')}"


def _files_are_silent(folder: Path) -> None:
    """All but what is the dataset's own: its texts are there to be kept. `_live.json` is gone with its command."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.suffix not in (".jsonl", ".sock", ".safetensors"):
            assert path.name != "_live.json"
            kept = path.suffix == ".parquet"
            _silent(str(path), path.read_bytes(), texts=not kept)


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_nothing_is_said_by_any_command(log_format: str, place: Place, tmp_path: Path, start: Start) -> None:
    loud = {"PENSTOCK_LOG_LEVEL": "debug", "PENSTOCK_LOG_FORMAT": log_format, "PENSTOCK_BROKER_URL": place.url}
    out = tmp_path / "out"
    arguments = (place.corpus, "--model", place.model, *OPTIONS, "--max-quarantined", "50%", "--debug")
    answers = [call(tmp_path, "submit", *arguments, "--out", out, **loud)]
    assert answers[0].code == 0, answers[0].err
    run = json.loads((out / "_run.json").read_text())["run"]
    with place.client() as client:
        client.set(body_key(run, 0), f"no body, but {TEXT}")
        for entry in (f"{TEXT} {PASSWORD}", json.dumps({"text": TEXT}), json.dumps({"headers": {"task": TEXT}})):
            client.lpush(QUEUE_LIST, entry)
        worker = start("worker", "--devices", "cpu", "--debug", **loud, **NOOP)
        parent = worker.worker_parent()
        shown = _command_lines(worker)
        until(lambda: (out / "_SUCCESS").exists(), "a sealed run", worker)
        client.config_set("requirepass", "another-one-now")
        client.client_kill_filter(skipme=True)
        until(lambda: "Redis did not do what it was asked" in worker.log.read_text(), "a refusal", worker)
        client.config_set("requirepass", PASSWORD)
    assert parent.is_running()
    worker.stop()
    answers += [
        call(tmp_path, *command, "--debug", **loud)
        for command in (("status",), ("verify", out), ("doctor", "--devices", "cpu"), ("quarantine", "list", out))
    ]
    answers += [call(tmp_path, "config", "show", *more, **loud) for more in ((), ("--json",))]
    answers += [call(tmp_path, "run", *arguments, "--out", tmp_path / "second", "--devices", "cpu", **loud, **NOOP)]
    assert [answer.code for answer in answers] == [0] * len(answers), [answer.err for answer in answers]
    assert rows(tmp_path / "second").num_rows == rows(out).num_rows > 20
    for answer in answers:
        _silent("a command", (answer.out + answer.err).encode())
    said = worker.log.read_bytes()
    assert b"An entry of the queue is dropped" in said
    assert b"damaged" in said
    _silent("the worker", said)
    _silent("a command line", shown)
    _files_are_silent(tmp_path)


FAULTS = {
    "wrong password": lambda place: place.url.replace(QUOTED, quote(WRONG, safe="")),
    "nobody there": lambda place: f"redis://user:{QUOTED}@127.0.0.1:1/0",
    "no such host": lambda place: f"redis://:{QUOTED}@no-such-host.invalid/0",
    "no such socket": lambda place: f"redis+socket://:{QUOTED}@/no/such.sock",
    "no port": lambda place: f"redis://:{QUOTED}@host:port/0",
    "not quoted": lambda place: f"redis://:{PASSWORD}@host/0",
    "another scheme": lambda place: f"amqp://user:{QUOTED}@host/0",
    "as a parameter": lambda place: f"redis://127.0.0.1:1/0?password={QUOTED}",
    "encrypted": lambda place: f"rediss://:{QUOTED}@127.0.0.1:1/0",
    "no database": lambda place: f"redis://:{QUOTED}@127.0.0.1:1/x",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_address_that_does_not_work_is_said_without_its_password(
    fault: str, place: Place, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = FAULTS[fault](place)
    arguments = ("--out", tmp_path / "out", "--model", place.model, *OPTIONS)
    commands: list[tuple[object, ...]] = [("submit", place.corpus, *arguments), ("worker", "--devices", "cpu")]
    commands += [("status",), ("doctor", "--devices", "cpu:0"), ("cancel", "nothing")]
    ask = request.getfixturevalue("ask")
    for number, command in enumerate(commands):
        as_json = ("--json",) if number % 2 and command[0] != "worker" else ()
        answer = ask(*command, "--broker", url, "--debug", *as_json)
        assert answer.code in (2, 3), (command, answer.err)
        _silent(f"{command[0]} with {fault}", (answer.out + answer.err).encode())
    shown = ask("config", "show")
    _silent("config show", (shown.out + shown.err).encode())


def test_an_interrupted_command_takes_its_address_along(place: Place, tmp_path: Path, start: Start) -> None:
    """`_live.json` has the password, for `status` and `cancel`: only this user may read it, while the command lives."""
    out = tmp_path / "out"
    environment = {"PENSTOCK_BROKER_URL": place.url, "NOOP_PAUSE_S": "1", "NOOP_MICRO_BATCH": "1"}
    command = start("run", place.corpus, "--out", out, "--model", place.model, *OPTIONS, **environment, **NOOP)
    until(lambda: (out / "_live.json").exists(), "a live command", command)
    assert os.stat(out / "_live.json").st_mode & 0o777 == 0o600
    assert call(tmp_path, "cancel", out).code == 0
    assert command.wait() == 130
    _silent("the command", command.log.read_bytes())
    _files_are_silent(tmp_path)


def _command_lines(command: Command) -> bytes:
    """What every user of the machine sees of the processes."""
    processes = [psutil.Process(command.process.pid), *command.descendants()]
    return subprocess.run(
        ["ps", "-o", "args=", "-p", ",".join(str(process.pid) for process in processes)],
        check=True,
        capture_output=True,
    ).stdout
