"""The processes of a running command: who loads torch, what each is told, what they log, and what none may show."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
import redis
from acceptance.commands import call
from acceptance.conftest import OPTIONS, Sealed
from chaos.disturbance import Command, until, until_parts

from pipelines.parts.footer import read_footer
from pipelines.parts.store import Store
from worker.address import password
from worker.broker import EmbeddedRedis

BATCHES = 200
JOB = ("--batch-docs", 1, "--dtype", "float32", "--limit", BATCHES)


class Seen(NamedTuple):
    """The processes of one `penstock run` on two slots, looked at while it worked."""

    out: Path
    log: Path
    password: str
    command: dict[str, Any]
    parents: list[dict[str, Any]]
    children: list[dict[str, Any]]
    redis: dict[str, Any]


def _look(process: psutil.Process) -> dict[str, Any]:
    maps = Path(f"/proc/{process.pid}/maps").read_text()
    return {
        "name": process.name(),
        "command_line": " ".join(process.cmdline()),
        "environment": process.environ(),
        "torch": "libtorch" in maps,
        "connections": [c for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN],
    }


@pytest.fixture(scope="module")
def seen(many: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    folder = tmp_path_factory.mktemp("seen")
    out = folder / "out"
    settings = {"PENSTOCK_LOG_FORMAT": "json", "PENSTOCK_LOG_LEVEL": "debug", "PENSTOCK_LEASE_S": "33"}
    command = Command(
        folder, "run", many, "--out", out, "--model", tiny_model, *JOB, "--devices", "cpu:2", "--debug",
        **settings, PENSTOCK_DEVICES="cpu:7", CUDA_VISIBLE_DEVICES="0", OMP_NUM_THREADS="1",
    )  # fmt: skip
    until_parts(out, 3, command)
    url = json.loads((out / "_live.json").read_text())["broker_url"]
    found: dict[str, list[dict[str, Any]]] = {"worker.app": [], "spawn_main": [], "redis-server": []}
    for process in command.descendants():
        look = _look(process)
        for name, looks in found.items():
            if name in look["command_line"]:
                looks.append(look)
    itself = _look(psutil.Process(command.process.pid))
    assert command.wait() == 0, command.tail()
    secret = password(url)
    assert secret
    (server,) = found["redis-server"]
    return Seen(out, command.log, secret, itself, found["worker.app"], found["spawn_main"], server)


def test_only_the_children_load_torch(seen: Seen) -> None:
    assert (len(seen.parents), len(seen.children)) == (2, 2)
    assert [child["torch"] for child in seen.children] == [True, True]
    assert not any(process["torch"] for process in (seen.command, seen.redis, *seen.parents))


def test_every_part_names_the_slot_that_made_it(seen: Seen) -> None:
    store = Store(seen.out)
    footers = [read_footer(store, batch) for batch in range(BATCHES)]
    assert {(footer.slot, footer.device) for footer in footers} == {("cpu:0", "cpu"), ("cpu:1", "cpu")}
    assert {footer.attempt for footer in footers} == {1}


def test_a_child_is_pinned_before_it_starts(seen: Seen) -> None:
    slots = set()
    for process in (*seen.parents, *seen.children):
        environment = process["environment"]
        slots.add(environment["PENSTOCK_SLOT_SLOT"])
        assert environment["PENSTOCK_SLOT_DEVICE"] == "cpu"
        assert environment["CUDA_VISIBLE_DEVICES"] == ""
        assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
        threads = environment["PENSTOCK_SLOT_THREADS"]
        assert {environment[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")} == {threads}
    assert slots == {"cpu:0", "cpu:1"}


def test_a_child_has_the_settings_of_the_command(seen: Seen) -> None:
    """A flag wins over the variable that the child inherits; nothing of Celery's is left of the surroundings."""
    for process in (*seen.parents, *seen.children):
        environment = process["environment"]
        assert environment["PENSTOCK_DEVICES"] == "cpu:2"
        assert environment["PENSTOCK_LEASE_S"] == "33.0"
        assert environment["PYTHONSAFEPATH"] == "1"


def test_the_password_is_nowhere_to_be_seen(seen: Seen) -> None:
    for process in (seen.command, seen.redis, *seen.parents, *seen.children):
        assert seen.password not in process["command_line"]
        assert process["connections"] == []
    assert seen.password not in seen.log.read_text()
    assert not any(seen.password.encode() in path.read_bytes() for path in seen.out.rglob("*") if path.is_file())


def test_logs_are_objects_that_carry_run_batch_and_device(seen: Seen) -> None:
    lines = [line for line in seen.log.read_text().splitlines() if line.startswith("{")]
    records = [json.loads(line) for line in lines]
    committed = [record for record in records if record["message"].startswith("Part committed")]
    assert len(committed) == BATCHES
    run = json.loads((seen.out / "_run.json").read_text())["run"]
    for record in committed:
        assert record.keys() >= {"time", "level", "logger", "message", "process", "run", "batch", "device", "slot"}
        assert (record["run"], record["device"], record["level"]) == (run, "cpu", "info")
    assert {int(record["batch"]) for record in committed} == set(range(BATCHES))
    assert not [record for record in records if record["level"] in ("error", "critical") or "exception" in record]


def test_a_worker_of_an_outside_redis_shows_no_password_either(
    fresh_redis: EmbeddedRedis, sealed: Sealed, tmp_path: Path
) -> None:
    url = fresh_redis.url
    secret = password(url)
    assert secret
    worker = Command(tmp_path, "worker", "--devices", "cpu", PENSTOCK_BROKER_URL=url, PENSTOCK_LOG_FORMAT="json")
    try:
        arguments = ("submit", sealed.corpus, "--out", "out", "--model", sealed.model, *OPTIONS[:4], "--wait")
        submitted = call(tmp_path, *arguments, PENSTOCK_BROKER_URL=url)
        assert submitted.code == 0, submitted.err
        processes = [psutil.Process(worker.process.pid), *worker.descendants()]
        assert all(secret not in " ".join(process.cmdline()) for process in processes)
        fresh_redis.kill()
        until(lambda: "Trying on." in worker.log.read_text(), "a word on the lost Redis", worker)
        fresh_redis.start()
        said = submitted.err + worker.log.read_text()
    finally:
        worker.stop()
    assert secret not in said
    assert all(isinstance(json.loads(line), dict) for line in worker.log.read_text().splitlines() if line[:1] == "{")


SHADOWS = ("tasks", "worker", "pipelines", "redis", "celery", "torch", "numpy", "logging", "types", "celeryconfig")


@pytest.fixture
def shadowed(tmp_path: Path) -> Path:
    """A folder with modules that have the names of ours and of what we import."""
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('the {name}.py of the working folder was imported')\n")
    return tmp_path


def test_files_of_the_working_folder_do_not_stand_in_for_ours(
    shadowed: Path, documents: Path, tiny_model: Path
) -> None:
    """With `--dtype auto`, so that the probe runs there too."""
    arguments = ["run", str(documents), "--out", "out", "--model", str(tiny_model), "--devices", "cpu"]
    answer = subprocess.run(
        [str(Path(sys.executable).with_name("penstock")), *arguments],
        cwd=shadowed,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert "Sealed: 60 rows" in answer.stdout


def test_what_another_celery_application_is_told_is_not_for_us(
    sealed: Sealed, tmp_path: Path, fresh_redis: EmbeddedRedis
) -> None:
    other = fresh_redis
    variables = {
        "CELERY_BROKER_URL": other.url,
        "CELERY_BROKER_READ_URL": other.url,
        "CELERY_BROKER_WRITE_URL": other.url,
        "CELERY_RESULT_BACKEND": "redis://127.0.0.1:1/0",
        "CELERY_CONFIG_MODULE": "of_another_application",
        "CELERY_LOADER": "nowhere:Loader",
    }
    arguments = ("run", sealed.corpus, "--out", "out", "--model", sealed.model, *OPTIONS)
    answer = call(tmp_path, *arguments, **variables)
    assert answer.code == 0, answer.err
    with redis.Redis.from_url(other.client_url) as client:
        assert client.keys("*") == []
