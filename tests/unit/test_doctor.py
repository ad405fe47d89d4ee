"""The doctor: what it finds on real Redis servers and folders, and what it says to do."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner

from worker.broker import EmbeddedRedis
from worker.cli import doctor_redis
from worker.cli.config import config
from worker.cli.doctor import doctor
from worker.cli.doctor_machine import within
from worker.cli.doctor_redis import is_safe
from worker.cli.findings import Finding, State


@pytest.fixture(autouse=True)
def _working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands are called in this process: the logging that they set up goes with the test."""
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    level = root.level
    yield
    logging.captureWarnings(False)
    root.setLevel(level)
    for handler in [handler for handler in root.handlers if hasattr(handler, "penstock")]:
        root.removeHandler(handler)


def _examined(*arguments: object) -> tuple[int, dict[str, dict[str, str]]]:
    result = CliRunner().invoke(doctor, [*map(str, arguments), "--devices", "cpu", "--json"])
    report = json.loads(result.stdout)
    assert report["ready"] == (result.exit_code == 0)
    return result.exit_code, {finding["name"]: finding for finding in report["findings"]}


def test_a_healthy_machine_is_ready_and_left_as_it_was(tmp_path: Path, tiny_model: Path) -> None:
    code, findings = _examined("--out", tmp_path / "not" / "yet", "--model", tiny_model)
    assert code == 0
    assert {finding["state"] for finding in findings.values()} <= {"ok", "warn"}
    assert "roberta" in findings["model"]["found"]
    assert list(tmp_path.iterdir()) == []


def test_what_would_fail_a_run_is_3_with_what_to_do(tmp_path: Path) -> None:
    code, findings = _examined("--broker", f"unix://:sesame@{tmp_path}/none", "--model", tmp_path)
    assert code == 3
    assert findings["redis"]["state"] == findings["model"]["state"] == "fail"
    assert findings["redis"]["advice"]
    assert "sesame" not in json.dumps(findings)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert _examined("--out", tmp_path / "x")[1]["storage"]["state"] == "fail"


def test_what_a_run_would_refuse_as_its_folder_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("dear")
    for out, wanted in (("thesis.txt", "is a file"), (".", "is not empty"), ("thesis.txt/out", "is a file")):
        code, findings = _examined("--out", out)
        assert (code, findings["storage"]["state"]) == (3, "fail")
        assert wanted in findings["storage"]["found"]
        assert findings["storage"]["advice"]
    assert _examined()[1]["storage"]["state"] == "ok"


def test_a_redis_that_evicts_is_a_failure(fresh_redis: EmbeddedRedis) -> None:
    with redis.Redis.from_url(fresh_redis.client_url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    code, findings = _examined("--broker", fresh_redis.url)
    assert code == 3
    assert findings["policy"]["state"] == "fail"
    assert findings["policy"]["advice"] == "Set: CONFIG SET maxmemory-policy noeviction"


def test_the_lines_for_a_person_say_the_same(tmp_path: Path) -> None:
    result = CliRunner().invoke(doctor, ["--devices", "cpu:0"])
    assert result.exit_code == 3
    lines = {line.split()[1]: line for line in result.stdout.splitlines()}
    assert lines["devices"].startswith("fail")
    assert lines["storage"].startswith("ok")


@pytest.mark.parametrize(
    ("server", "release", "safe"),
    [
        ("redis", "6.2.14", False),
        ("redis", "6.2.20", True),
        ("redis", "7.0.15", False),
        ("redis", "7.4.6", True),
        ("redis", "8.2.1", False),
        ("redis", "8.4.0", True),
        ("valkey", "8.1.3", False),
        ("valkey", "9.0.0", True),
        ("redis", "255.255.255", True),
    ],
)
def test_releases_with_a_known_hole_are_told_apart(server: str, release: str, safe: bool) -> None:
    assert is_safe(server, release) is safe


GOOD = {"redis_version": "8.2.2", "maxmemory": 2**30, "used_memory": 2**20, "aof_enabled": 1, "role": "master"}


@pytest.mark.parametrize(
    ("look", "state", "said"),
    [
        (lambda: doctor_redis.release(GOOD, "redis://h"), State.OK, "redis 8.2.2 at redis://h"),
        (lambda: doctor_redis.release(GOOD | {"redis_version": "5.0.14"}, "x"), State.FAIL, "older than 6.2"),
        (lambda: doctor_redis.release(GOOD | {"redis_version": "7.4.1"}, "x"), State.WARN, "CVE-2025-49844"),
        (
            lambda: doctor_redis.release({"valkey_version": "8.1.3", "redis_version": "7.2.4"}, "x"),
            State.WARN,
            "valkey",
        ),
        (lambda: doctor_redis.role(GOOD), State.OK, ""),
        (lambda: doctor_redis.role(GOOD | {"role": "slave"}), State.FAIL, "master"),
        (lambda: doctor_redis.role(GOOD | {"cluster_enabled": 1}), State.FAIL, "single Redis"),
        (lambda: doctor_redis.memory(GOOD, 0.6), State.OK, "1.0 MiB of 1.0 GiB"),
        (lambda: doctor_redis.memory(GOOD | {"used_memory": 2**30 * 0.7}, 0.6), State.FAIL, "above 60%"),
        (lambda: doctor_redis.memory(GOOD | {"maxmemory": 0}, 0.6), State.WARN, "maxmemory"),
        (lambda: doctor_redis.restart(GOOD, None), State.OK, "appendonly"),
        (lambda: doctor_redis.restart(GOOD | {"aof_last_write_status": "err"}, None), State.FAIL, "disk full"),
        (lambda: doctor_redis.restart(GOOD | {"aof_enabled": 0}, "3600 1"), State.WARN, "last snapshot"),
        (lambda: doctor_redis.restart(GOOD | {"aof_enabled": 0}, ""), State.WARN, "forgets all"),
        (lambda: doctor_redis.clock(0.2, 1800), State.OK, "0.2 s behind"),
        (lambda: doctor_redis.clock(-31.0, 1800), State.WARN, "from 1,800 s on Celery"),
        (lambda: doctor_redis.access("redis://127.0.0.1:6379/0"), State.OK, "this machine only"),
        (lambda: doctor_redis.access("redis://[::1]/0"), State.OK, "this machine only"),
        (lambda: doctor_redis.access("unix:///run/redis.sock"), State.OK, "this machine only"),
        (lambda: doctor_redis.access("redis://10.0.0.1/0"), State.WARN, "no password"),
        (lambda: doctor_redis.access("redis://:sesame@10.0.0.1/0"), State.OK, "unencrypted"),
        (lambda: doctor_redis.access("rediss://:sesame@cache.example/0"), State.OK, "encrypted"),
    ],
)
def test_what_a_redis_says_of_itself_is_judged(look: Callable[[], Finding], state: State, said: str) -> None:
    finding = look()
    assert finding.state is state
    assert said in f"{finding.found} {finding.advice}"
    assert "sesame" not in str(finding)
    assert finding.state is State.OK or finding.advice


@pytest.mark.parametrize(
    ("number", "wanted", "is_within"),
    [
        ("5.7.0", "<5.8,>=5.7", True),
        ("5.8.0", "<5.8,>=5.7", False),
        ("5.6.9", "<5.8,>=5.7", False),
        ("2.13.0+cu128", ">=2.11,<2.14", True),
        ("2.14.0.dev20260901", ">=2.11,<2.14", False),
        ("26.0.1", ">=21", True),
        ("1.0", "", True),
    ],
)
def test_versions_are_compared_as_numbers(number: str, wanted: str, is_within: bool) -> None:
    assert within(number, wanted) is is_within


def test_config_shows_every_setting_with_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "penstock.toml").write_text("window = 5\n")
    monkeypatch.setenv("PENSTOCK_BROKER_URL", "redis://:sesame@h/0")
    shown = json.loads(CliRunner().invoke(config, ["show", "--json"]).stdout)
    assert shown["window"] == {"value": 5, "source": str(tmp_path / "penstock.toml")}
    assert shown["broker_url"] == {"value": "redis://:***@h/0", "source": "env PENSTOCK_BROKER_URL"}
    lines = CliRunner().invoke(config, ["show"]).stdout
    assert "sesame" not in lines
    assert all(key in lines for key in shown)
