"""The doctor: what it finds on real Redis servers and folders, and what it says to do."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner

from worker.address import RedisInfo
from worker.broker import EmbeddedRedis
from worker.cli.config import config
from worker.cli.doctor import State, doctor, is_safe, judged


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


def test_a_redis_that_evicts_is_a_failure(fresh_redis: EmbeddedRedis) -> None:
    with redis.Redis.from_url(fresh_redis.client_url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    code, findings = _examined("--broker", fresh_redis.url)
    assert code == 3
    assert "maxmemory-policy noeviction" in findings["redis"]["advice"]


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


@pytest.mark.parametrize(
    ("change", "state", "advice"),
    [
        ({}, State.OK, ""),
        ({"maxmemory": 0}, State.WARN, "maxmemory"),
        ({"append_only": False}, State.WARN, "appendonly"),
        ({"version": "7.4.1"}, State.WARN, "CVE"),
        ({"maxmemory_policy": "volatile-lru"}, State.FAIL, "noeviction"),
    ],
)
def test_each_weakness_of_a_redis_has_its_advice(change: dict[str, object], state: State, advice: str) -> None:
    good = RedisInfo("redis", "8.2.2", 2**30, "noeviction", 2**20, 2**20, True)
    finding = judged(good._replace(**change), "redis://host")
    assert finding.state is state
    assert advice in finding.advice


def test_config_shows_every_setting_with_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "penstock.toml").write_text("window = 5\n")
    monkeypatch.setenv("PENSTOCK_BROKER_URL", "redis://:sesame@h/0")
    shown = json.loads(CliRunner().invoke(config, ["show", "--json"]).stdout)
    assert shown["window"] == {"value": 5, "source": str(tmp_path / "penstock.toml")}
    assert shown["broker_url"] == {"value": "redis://:***@h/0", "source": "env PENSTOCK_BROKER_URL"}
    lines = CliRunner().invoke(config, ["show"]).stdout
    assert "sesame" not in lines
    assert all(key in lines for key in shown)
