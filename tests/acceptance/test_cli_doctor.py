"""`doctor` as a person calls it: a line for each thing it looked at, 3 where a run would fail, 0 with warnings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis
from acceptance.conftest import Ask

from worker.broker import EmbeddedRedis


@pytest.fixture
def ask_json(ask: Ask) -> Any:
    """``ask_json("--out", …)``: exit code, and the findings by name."""

    def asked(*arguments: object) -> tuple[int, dict[str, dict[str, str]]]:
        answer = ask("doctor", *arguments, "--devices", "cpu", "--json")
        value = answer.value
        assert value["ready"] is (answer.code == 0)
        assert answer.err == ""
        return answer.code, {finding["name"]: finding for finding in value["findings"]}

    return asked


def test_a_run_that_would_work_is_0_with_warnings(
    ask: Ask, fresh_redis: EmbeddedRedis, documents: Path, tiny_model: Path, tmp_path: Path
) -> None:
    with redis.Redis.from_url(fresh_redis.client_url) as client:
        client.config_set("appendonly", "no")
    answer = ask(
        "doctor", documents, "--out", "out", "--model", tiny_model, "--devices", "cpu", "--broker", fresh_redis.url
    )
    assert answer.code == 0, answer.out
    found = {line.split()[1]: line for line in answer.out.splitlines()}
    assert list(found) == [
        *("software", "redis", "role", "rights", "policy", "memory", "restart", "clock", "access", "keys"),
        *("devices", "cores", "torch", "storage", "locks", "model", "space"),
    ]
    assert found["restart"].startswith("warn  restart   It forgets all when it restarts")
    assert "about 60 documents take about" in found["space"]
    assert "digest" in found["model"]
    assert not (tmp_path / "out").exists()


def test_everything_that_is_wrong_is_said_at_once(ask_json: Any, fresh_redis: EmbeddedRedis, tmp_path: Path) -> None:
    with redis.Redis.from_url(fresh_redis.client_url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    code, found = ask_json(
        "--broker", fresh_redis.url, "--out", "/proc/nowhere", "--model", "none", "--dtype", "float16"
    )
    assert code == 3
    assert {name for name, finding in found.items() if finding["state"] == "fail"} == {
        *("policy", "storage", "model", "torch"),
    }  # fmt: skip
    assert all(finding["advice"] for finding in found.values() if finding["state"] != "ok")


def test_a_corpus_that_is_not_there_is_a_finding(ask_json: Any) -> None:
    code, found = ask_json("no-such.jsonl")
    assert code == 3
    assert found["space"]["state"] == "fail"
    assert "no-such.jsonl" in found["space"]["found"]


def test_a_name_with_line_ends_stays_on_its_line(ask: Ask) -> None:
    answer = ask("doctor", "--model", "a\nfail  forged \x1b[2J", "--devices", "cpu")
    assert answer.code == 3
    assert "\x1b" not in answer.out
    assert sum("forged" in line for line in answer.out.splitlines()) == 1
    assert not any(line.startswith("fail  forged") for line in answer.out.splitlines())
