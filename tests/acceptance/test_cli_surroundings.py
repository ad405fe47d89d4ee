"""`doctor`, `config show`, settings and their sources, and a full disk of small surprises around a run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from acceptance.commands import call
from acceptance.conftest import OPTIONS, Ask, Sealed

from worker.broker import EmbeddedRedis


def test_config_show_names_the_source_of_every_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Ask
) -> None:
    monkeypatch.setenv("PENSTOCK_LEASE_S", "7")
    monkeypatch.setenv("PENSTOCK_WINDOW", "9")
    monkeypatch.setenv("PENSTOCK_DEVICES", "cpu:3")
    (tmp_path / "penstock.toml").write_text('window = 5\nmax_attempts = 2\nbroker_url = "redis://:pass-word@h/0"\n')
    (tmp_path / "config" / "penstock").mkdir(parents=True)
    (tmp_path / "config" / "penstock" / "penstock.toml").write_text("max_attempts = 3\ntoken_budget = 100\n")
    value = ask("config", "show", "--devices", "cpu", "--json").value
    assert {key: (value[key]["value"], value[key]["source"]) for key in (
        "devices", "window", "lease_s", "max_attempts", "token_budget", "broker_url", "log_format",
    )} == {
        "devices": ("cpu", "flag"),
        "window": (9, "env PENSTOCK_WINDOW"),
        "lease_s": (7.0, "env PENSTOCK_LEASE_S"),
        "max_attempts": (2, str(tmp_path / "penstock.toml")),
        "token_budget": (100, str(tmp_path / "config" / "penstock" / "penstock.toml")),
        "broker_url": ("redis://:***@h/0", str(tmp_path / "penstock.toml")),
        "log_format": ("console", "default"),
    }  # fmt: skip
    text = ask("config", "show")
    assert text.code == 0
    assert "pass-word" not in text.out
    assert any(line.split() == ["window", "9", "env", "PENSTOCK_WINDOW"] for line in text.out.splitlines())


def test_a_wrong_setting_is_2_and_names_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Ask) -> None:
    (tmp_path / "penstock.toml").write_text("colour = 1\n")
    answer = ask("config", "show")
    assert answer.code == 2
    assert f"{tmp_path}/penstock.toml has the unknown key 'colour'" in answer.refusal
    (tmp_path / "penstock.toml").write_text("window = [\n")
    assert ask("config", "show", "--json").value["error"]["code"] == "usage"
    (tmp_path / "penstock.toml").unlink()
    monkeypatch.setenv("PENSTOCK_LEASE_S", "soon")
    answer = ask("status")
    assert answer.code == 2
    assert answer.refusal.startswith("env PENSTOCK_LEASE_S: lease_s is not valid")


def test_the_doctor_finds_what_a_run_needs(sealed: Sealed, tmp_path: Path, ask: Ask) -> None:
    value = ask("doctor", "--out", tmp_path / "out", "--model", sealed.model, "--devices", "cpu", "--json").value
    assert value["ready"]
    names = [finding["name"] for finding in value["findings"]]
    assert names == ["software", "redis", "devices", "cores", "torch", "storage", "locks", "model", "space"]
    assert {finding["state"] for finding in value["findings"]} <= {"ok", "warn"}
    assert not (tmp_path / "out").exists()


def test_the_doctor_says_what_is_missing_and_ends_with_3(
    fresh_redis: EmbeddedRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Ask
) -> None:
    monkeypatch.setenv("PATH", "/usr/nowhere")
    answer = ask("doctor", "--model", "nowhere", "--devices", "0", "--broker", "redis://:pass-word@127.0.0.1:1/0")
    assert answer.code == 3
    lines = {line.split()[1]: line for line in answer.out.splitlines()}
    assert [name for name, line in lines.items() if line.startswith("fail")] == ["redis", "devices", "torch", "model"]
    assert "--devices cpu" in lines["devices"]
    assert "pass-word" not in answer.out
    assert "Traceback" not in answer.err
    value = ask("doctor", "--devices", "cpu", "--broker", fresh_redis.url, "--json")
    assert (value.code, value.value["ready"]) == (0, True)


def test_no_variable_of_the_surroundings_changes_the_rows(sealed: Sealed, tmp_path: Path) -> None:
    """Settings that change speed and place; and foreign variables that libraries listen to."""
    environment = {
        "PENSTOCK_TOKEN_BUDGET": "64",
        "PENSTOCK_WINDOW": "1",
        "PENSTOCK_BROKER_URL": "",
        "PENSTOCK_LOG_LEVEL": "error",
        "CELERY_BROKER_URL": "amqp://nowhere",
        "CELERY_CONFIG_MODULE": "nowhere",
        "CUDA_VISIBLE_DEVICES": "7",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONHASHSEED": "5",
        "LC_ALL": "C",
    }
    arguments = ("run", sealed.corpus, "--out", "out", "--model", sealed.model, *OPTIONS, "--json")
    answer = call(tmp_path, *arguments, **environment)
    assert answer.code == 0, answer.err
    assert answer.err == ""
    first = sealed.answer.value
    assert {key: answer.value[key] for key in ("documents", "rows", "tokens", "tokens_used", "parts")} == {
        key: first[key] for key in ("documents", "rows", "tokens", "tokens_used", "parts")
    }
    assert call(tmp_path, *sealed.arguments, **environment).code == 0


def test_where_no_redis_can_be_had_inline_is_named(
    sealed: Sealed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Ask
) -> None:
    monkeypatch.setattr("worker.broker.find_server", lambda: None)
    answer = ask("run", sealed.corpus, "--out", "out", "--model", sealed.model, *OPTIONS)
    assert answer.code == 3
    assert "use --inline" in answer.refusal
    assert ask("run", sealed.corpus, "--out", "out", "--model", sealed.model, *OPTIONS, "--inline").code == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_3(sealed: Sealed, tmp_path: Path, ask: Ask) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    answer = ask("run", sealed.corpus, "--out", locked / "out", "--model", sealed.model, *OPTIONS)
    assert answer.code == 3
    assert f"{locked} does not allow it" in answer.refusal
