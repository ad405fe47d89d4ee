"""The compose file and the image, tried without containers: the schema, every service's real command, every step."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest
import redis
import yaml

from worker.address import check
from worker.broker import EmbeddedRedis, find_server
from worker.cli.doctor_redis import is_safe
from worker.settings import Settings, load

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "worker" / "Dockerfile"
PASSWORD = "letters0and1digits"
VARIABLE = re.compile(r"\$\$|\$\{(\w+)(?:(:?[-?])([^}]*))?\}")


def filled(value: Any, variables: dict[str, str]) -> Any:
    """A value of the compose file with its variables filled in, by the rules of the Compose specification."""
    if isinstance(value, dict):
        return {key: filled(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, variables) for item in value]
    if not isinstance(value, str):
        return value

    def fill(match: re.Match[str]) -> str:
        name, rule, word = match.groups()
        if name is None:
            return "$"
        given = variables.get(name)
        if given:
            return given
        if rule and "?" in rule:
            raise KeyError(f"{name}: {word}")
        return word or ""

    return VARIABLE.sub(fill, value)


@pytest.fixture(scope="module")
def raw() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return document


@pytest.fixture
def services(raw: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = filled(raw["services"], {"PENSTOCK_REDIS_PASSWORD": PASSWORD})
    return found


def test_it_is_what_the_compose_specification_allows(raw: dict[str, Any]) -> None:
    # The schema of https://github.com/compose-spec/compose-spec, as the package check-jsonschema carries it.
    package = importlib.util.find_spec("check_jsonschema")
    assert package is not None
    assert package.origin is not None
    schema = Path(package.origin).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    validator = jsonschema.validators.validator_for(json.loads(schema.read_text()))
    problems = [error.message for error in validator(json.loads(schema.read_text())).iter_errors(raw)]
    assert problems == []
    broken = {**raw, "services": {"redis": {**raw["services"]["redis"], "restarts": "always"}}}
    assert list(validator(json.loads(schema.read_text())).iter_errors(broken))


def test_without_a_password_nothing_starts(raw: dict[str, Any]) -> None:
    with pytest.raises(KeyError, match="PENSTOCK_REDIS_PASSWORD"):
        filled(raw["services"], {})


def test_the_services_are_a_redis_and_workers_by_profile(services: dict[str, Any]) -> None:
    assert set(services) == {"redis", "worker-cpu", "worker-gpu"}
    assert services["worker-cpu"]["profiles"] == ["cpu"]
    assert services["worker-gpu"]["profiles"] == ["gpu"]
    (device,) = services["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    for name in ("worker-cpu", "worker-gpu"):
        (mount,) = services[name]["volumes"]
        assert mount["source"] == mount["target"]
        assert services[name]["depends_on"]["redis"]["condition"] == "service_healthy"
        assert services[name]["user"] == "10001:10001"


def test_redis_is_open_to_this_host_only(services: dict[str, Any]) -> None:
    assert all(port.startswith("127.0.0.1:") for port in services["redis"]["ports"])
    release = services["redis"]["image"].removeprefix("redis:").split("-")[0]
    assert is_safe("redis", release)


def test_workers_are_given_settings_that_there_are(services: dict[str, Any], tmp_path: Path) -> None:
    for name in ("worker-cpu", "worker-gpu"):
        environment = services[name]["environment"]
        keys = {key for key in environment if key.startswith("PENSTOCK_")}
        assert keys <= {f"PENSTOCK_{field.upper()}" for field in Settings.model_fields}
    assert services["worker-cpu"]["environment"]["PENSTOCK_BROKER_URL"] == f"redis://:{PASSWORD}@redis:6379/0"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def composed_redis(services: dict[str, Any], tmp_path: Path) -> Iterator[str]:
    """The redis service's own command, run here on another port and folder; its address."""
    server = find_server()
    if server is None:
        pytest.skip("there is no redis-server here")
    name, *arguments = services["redis"]["command"]
    assert name == "redis-server"
    port = _free_port()
    command = [str(server), *arguments, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=tmp_path) as process:
        url = f"redis://:{PASSWORD}@127.0.0.1:{port}/0"
        for _ in range(200):
            try:
                redis.Redis.from_url(url).ping()
                break
            except redis.ConnectionError:
                time.sleep(0.05)
        yield url
        process.terminate()


def test_the_redis_command_starts_what_the_workers_need(composed_redis: str, services: dict[str, Any]) -> None:
    found = check(composed_redis)
    assert found.maxmemory_policy == "noeviction"
    assert found.maxmemory == 2**30
    assert found.append_only
    with pytest.raises(redis.AuthenticationError):
        redis.Redis.from_url(composed_redis.replace(f":{PASSWORD}@", "")).ping()
    assert services["redis"]["environment"]["REDISCLI_AUTH"] == PASSWORD


def _module(test: list[str]) -> list[str]:
    """A container's health check as a command of this interpreter."""
    assert test[:2] == ["CMD", "python"]
    return [sys.executable, *test[2:]]


@pytest.mark.slow
def test_the_worker_command_starts_is_healthy_and_stops(
    composed_redis: str, services: dict[str, Any], tmp_path: Path
) -> None:
    service = services["worker-cpu"]
    environment = (
        os.environ | service["environment"] | {"PENSTOCK_BROKER_URL": composed_redis, "HF_HOME": str(tmp_path)}
    )
    log = tmp_path / "worker.log"
    with (
        log.open("wb") as stderr,
        subprocess.Popen(
            [sys.executable, "-m", "worker", *service["command"]], env=environment, cwd=tmp_path, stderr=stderr
        ) as process,
        redis.Redis.from_url(composed_redis) as client,
    ):
        for _ in range(600):
            if process.poll() is not None or client.keys("*_kombu.binding.*"):  # somebody listens to the queue
                break
            time.sleep(0.1)
        assert process.poll() is None, log.read_text()
        health = subprocess.run(
            _module(service["healthcheck"]["test"]), env=environment, cwd=tmp_path, capture_output=True, check=False
        )
        assert health.returncode == 0, health.stderr
        children = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        assert process.wait(timeout=60) in (0, 130), log.read_text()
    assert psutil.wait_procs(children, timeout=10)[1] == []
    records = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert all(record["message"] and record["level"] for record in records)
    assert PASSWORD not in log.read_text()


def test_the_health_check_says_when_redis_is_away(services: dict[str, Any], tmp_path: Path) -> None:
    environment = os.environ | {"PENSTOCK_BROKER_URL": f"redis://:{PASSWORD}@127.0.0.1:{_free_port()}/0"}
    test = _module(services["worker-cpu"]["healthcheck"]["test"])
    health = subprocess.run(test, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert health.returncode == 3
    assert PASSWORD not in health.stderr
    assert len(health.stderr.splitlines()) == 1


def test_the_health_check_is_content_with_a_redis_that_answers(redis_server: EmbeddedRedis) -> None:
    environment = os.environ | {"PENSTOCK_BROKER_URL": redis_server.url}
    subprocess.run([sys.executable, "-m", "worker.health"], env=environment, check=True, capture_output=True)


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order, continued lines joined, comments left out."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(name.upper(), rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines())]


def test_the_image_copies_what_there_is_and_what_the_build_needs() -> None:
    sources = {
        word.removeprefix("./")
        for name, rest in instructions()
        if name == "COPY" and "--from" not in rest
        for word in shlex.split(rest)[:-1]
    }
    assert {"pyproject.toml", "README.md", "LICENSE", "pipelines", "tasks", "worker"} == sources
    assert all((ROOT / source).exists() for source in sources)
    allowed = {
        line.removeprefix("!") for line in (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text().split("\n")
    }
    assert sources <= allowed


def test_the_image_is_pinned_unprivileged_and_checked() -> None:
    steps = instructions()
    (image,) = [rest.split("=", 1)[1] for name, rest in steps if name == "ARG" and rest.startswith("PYTHON_IMAGE=")]
    version = re.fullmatch(r"python:(\d+)\.(\d+)\.\d+-slim-\w+", image)
    assert version
    assert (int(version[1]), int(version[2])) >= (3, 11)
    final = steps[max(index for index, (name, _) in enumerate(steps) if name == "FROM") :]
    assert ("USER", "10001:10001") in final
    commands = {name: rest for name, rest in final if name in ("ENTRYPOINT", "CMD")}
    assert json.loads(commands["ENTRYPOINT"]) == ["penstock"]
    assert json.loads(commands["CMD"]) == ["worker"]
    (health,) = [rest for name, rest in final if name == "HEALTHCHECK"]
    assert json.loads(health[health.index("[") :]) == ["python", "-m", "worker.health"]


def test_every_run_step_is_a_command_that_a_shell_can_read() -> None:
    for name, rest in instructions():
        if name == "RUN":
            subprocess.run(["/bin/sh", "-n", "-c", rest], check=True)


def test_the_install_step_works_on_what_was_copied(tmp_path: Path) -> None:
    # The image's own step, with its venv replaced by this interpreter and nothing fetched.
    (step,) = [rest for name, rest in instructions() if name == "RUN" and "pip install" in rest]
    words = shlex.split(step.replace("${PIP_ARGS}", "--no-deps --no-build-isolation --no-index"))
    assert words[0] == "/opt/penstock/bin/pip"
    for source in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / source, tmp_path)
    for source in ("pipelines", "tasks", "worker"):
        shutil.copytree(ROOT / source, tmp_path / source, ignore=shutil.ignore_patterns("__pycache__"))
    target = tmp_path / "target"
    command = [
        sys.executable,
        "-m",
        "pip",
        *words[1:],
        "--quiet",
        "--disable-pip-version-check",
        "--target",
        str(target),
    ]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert (target / "worker" / "health.py").is_file()
    assert (target / "bin" / "penstock").is_file()


def test_the_defaults_of_the_file_are_settings_that_load(services: dict[str, Any], monkeypatch: Any) -> None:
    for key, value in services["worker-cpu"]["environment"].items():
        monkeypatch.setenv(key, value)
    assert load().log_format == "json"
