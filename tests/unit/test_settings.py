"""Settings: which layer wins, where each value came from, and what a wrong one says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.errors import UsageError
from worker.settings import MIN_WINDOW, LogFormat, environment_for_child, load, redacted, sources


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The working folder's file and the user's file, neither of them written yet."""
    work, config = tmp_path / "work", tmp_path / "config" / "penstock"
    work.mkdir()
    config.mkdir(parents=True)
    monkeypatch.chdir(work)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return work / "penstock.toml", config / "penstock.toml"


def test_each_layer_wins_over_the_ones_below(places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    work, user = places
    user.write_text("window = 1\nmax_attempts = 1\nlease_s = 1\ntoken_budget = 1\n")
    work.write_text("window = 2\nmax_attempts = 2\nlease_s = 2\n")
    monkeypatch.setenv("PENSTOCK_WINDOW", "3")
    monkeypatch.setenv("PENSTOCK_MAX_ATTEMPTS", "3")
    settings = load(window=4, devices=None)
    assert (settings.window, settings.max_attempts, settings.lease_s, settings.token_budget) == (4, 3, 2.0, 1)
    found = {key: value.source for key, value in sources(settings).items()}
    assert found["window"] == "flag"
    assert found["max_attempts"] == "env PENSTOCK_MAX_ATTEMPTS"
    assert found["lease_s"] == str(work)
    assert found["token_budget"] == str(user)
    assert found["devices"] == "default"


def test_an_empty_variable_is_not_given(places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_BROKER_URL", "")
    assert load().broker_url is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("widnow = 3", "widnow"),
        ("window = 0", "window"),
        ("lease_s = nan", "lease_s"),
        ("redis_timeout_s = 1", "redis_timeout_s"),
        ('log_format = "xml"', "log_format"),
        ("window = ", "TOML"),
    ],
)
def test_a_wrong_file_is_one_line_with_its_name_and_key(places: tuple[Path, Path], line: str, said: str) -> None:
    places[0].write_text(line)
    with pytest.raises(UsageError) as caught:
        load()
    assert str(places[0]) in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_variable_is_named_without_its_value(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_WINDOW", "hunter2")
    with pytest.raises(UsageError, match="env PENSTOCK_WINDOW: window") as caught:
        load()
    assert "hunter2" not in str(caught.value)


def test_passwords_are_never_shown() -> None:
    settings = load(broker_url="redis://:sesame@host:6379/0")
    assert sources(settings)["broker_url"].value == "redis://:***@host:6379/0"
    assert "sesame" not in repr(settings)
    assert "sesame" not in str(settings)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:sesame@h/0",
        "rediss://me:sesame@h:1/0",
        "redis+socket://:sesame@/a/b?virtual_host=0",
        "redis://:ses@me/sesame@h",
        "seen twice: redis://:sesame@h and redis://:sesame@i.",
    ],
)
def test_redacted_hides_every_form_of_address(url: str) -> None:
    assert "sesame" not in redacted(url)
    assert "***@" in redacted(url)


def test_redacted_leaves_other_text_alone() -> None:
    text = "12:30 a@b.c wrote to redis://host:6379/0 and unix:///tmp/x"
    assert redacted(text) == text


def test_a_child_process_gets_the_same_settings(places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_WINDOW", "9")
    settings = load(
        window=5, broker_url="redis://:sesame@h/0", log_format="json", lease_s=1.5, redis_maxmemory_fraction=0.5
    )
    environment = environment_for_child(settings, {"CUDA_VISIBLE_DEVICES": ""})
    assert environment["CUDA_VISIBLE_DEVICES"] == ""
    code = "import json; from worker.settings import load; print(json.dumps(load().model_dump(mode='json')))"
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout) == settings.model_dump(mode="json")


def test_a_variable_that_a_flag_overrode_does_not_reach_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("penstock_window", "9")
    assert {key: value for key, value in environment_for_child(load(window=5)).items() if "WINDOW" in key.upper()} == {
        "PENSTOCK_WINDOW": "5",
        "PENSTOCK_WINDOW_BYTES": str(256 * 2**20),
    }


def test_the_window_grows_with_the_devices() -> None:
    assert load().window_batches(1) == MIN_WINDOW
    assert load().window_batches(100) == 800
    assert load(window=7).window_batches(100) == 7


def test_settings_are_frozen_and_typed() -> None:
    settings = load(log_format="json")
    assert settings.log_format is LogFormat.JSON
    with pytest.raises(Exception, match="frozen"):
        settings.window = 3  # type: ignore[misc]  # it is frozen
