"""The doctor at real Redis servers and real folders that are not as they should be."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from pipelines.parts import store
from tasks.keys import PREFIX
from worker.broker import find_server
from worker.cli.doctor_redis import redis_in_use
from worker.cli.doctor_storage import free_space, storage
from worker.cli.findings import Finding, State, examined
from worker.settings import Settings

Serve = Callable[..., str]
SECRET = "ses@me/%41"
QUOTED = "ses%40me%2F%2541"


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """``serve("maxmemory 10mb", …)``: a Redis with these lines in its configuration; its address after ``://``."""
    servers: list[subprocess.Popen[bytes]] = []

    def begin(*lines: str) -> str:
        port = _port()
        usual = [f"port {port}", "bind 127.0.0.1", 'save ""', f"dir {tmp_path}", "maxmemory 64mb", "logfile redis.log"]
        server = subprocess.Popen(
            [str(find_server()), "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=tmp_path
        )
        servers.append(server)
        assert server.stdin is not None
        server.stdin.write("\n".join([*usual, *lines, ""]).encode())
        server.stdin.close()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1):
                    return f"127.0.0.1:{port}/0"
            except OSError:
                time.sleep(0.05)
        raise AssertionError((tmp_path / "redis.log").read_text())

    yield begin
    for server in servers:
        server.kill()
        server.wait()


def _of(url: str) -> dict[str, Finding]:
    found = examined("redis", lambda: redis_in_use(Settings(broker_url=url)))
    assert SECRET not in str(found)
    assert QUOTED not in str(found)
    for finding in found:
        assert "\n" not in finding.found
        assert finding.state is State.OK or finding.advice, finding
    return {finding.name: finding for finding in found}


def _client(place: str) -> redis.Redis:
    return redis.Redis.from_url(f"redis://{place}")


def test_a_redis_as_it_should_be(serve: Serve) -> None:
    place = serve("appendonly yes", "maxmemory-policy noeviction")
    found = _of(f"redis://{place}")
    assert {name for name, finding in found.items() if finding.state is not State.OK} <= {"redis"}  # an old release
    assert found.keys() == {"redis", "role", "rights", "policy", "memory", "restart", "clock", "access", "keys"}
    assert "penstock:*: 0 runs, 0 live workers, 0 messages waiting" in found["keys"].found
    with _client(place) as client:
        assert client.keys("*") == []


@pytest.mark.parametrize(
    ("lines", "name", "state", "said"),
    [
        (["maxmemory-policy allkeys-lru"], "policy", State.FAIL, "maxmemory-policy allkeys-lru"),
        (["maxmemory 0"], "memory", State.WARN, "no limit"),
        (["save 3600 1"], "restart", State.WARN, "after its last snapshot"),
        ([], "restart", State.WARN, "forgets all"),
        (["replicaof 127.0.0.1 1"], "role", State.FAIL, "replica"),
        (
            ["replicaof 127.0.0.1 1"],
            "rights",
            State.FAIL,
            "refuses writes: You can't write against a read only",
        ),
    ],
)
def test_a_redis_set_up_otherwise(serve: Serve, lines: list[str], name: str, state: State, said: str) -> None:
    finding = _of(f"redis://{serve(*lines)}")[name]
    assert finding.state is state
    assert said in finding.found


def test_a_full_redis(serve: Serve) -> None:
    place = serve("maxmemory 64mb", "maxmemory-policy noeviction")
    with _client(place) as client:
        client.set("other", bytes(3 * 2**20))
        client.config_set("maxmemory", "3mb")
    found = _of(f"redis://{place}")
    assert found["rights"].state is found["memory"].state is State.FAIL
    assert "refuses writes: command not allowed when used memory" in found["rights"].found
    assert "above 60% nothing is published" in found["memory"].found


def test_a_redis_that_cannot_write_what_it_must(serve: Serve, tmp_path: Path) -> None:
    """Its snapshots fail, so it takes no writes."""
    place = serve("save 3600 1000000", "dbfilename dump.rdb")
    (tmp_path / "dump.rdb").mkdir()
    with _client(place) as client:
        client.set("x", 1)
        client.bgsave()
        deadline = time.monotonic() + 60
        while client.info("persistence")["rdb_last_bgsave_status"] == "ok" and time.monotonic() < deadline:
            time.sleep(0.1)
        found = _of(f"redis://{place}")["rights"]
    assert found.state is State.FAIL
    assert "refuses writes: " in found.found


@pytest.mark.parametrize("given", ["", f":{QUOTED}x@", "nobody:sesame@"])
def test_a_password_that_is_missing_or_wrong(serve: Serve, given: str) -> None:
    (finding,) = _of(f"redis://{given}{serve(f'requirepass {SECRET}')}").values()
    assert finding.state is State.FAIL
    assert "refuses the password" in finding.found or "asks for a password" in finding.found
    assert "Correct the address." in finding.advice


def test_the_right_password(serve: Serve) -> None:
    found = _of(f"redis://:{QUOTED}@{serve(f'requirepass {SECRET}')}")
    assert found["rights"].state is State.OK


@pytest.mark.parametrize(
    ("rules", "name", "said"),
    [
        ("~other:* &* +@all", "rights", f"SET on {PREFIX}*"),
        (f"~{PREFIX}* &* +@all -@scripting -brpop", "rights", "BRPOP, EVALSHA"),
        (f"~{PREFIX}* +@all resetchannels", "rights", "PUBLISH, SUBSCRIBE"),
        (f"~{PREFIX}* &* +@read +@connection", "redis", "does not let this user ask who it is"),
        (f"~{PREFIX}* &* +@all -time", "rights", "TIME"),
    ],
)
def test_a_user_with_too_few_rights(serve: Serve, rules: str, name: str, said: str) -> None:
    place = serve()
    with _client(place) as client:
        client.execute_command("ACL", "SETUSER", "poor", "on", ">pass-word", *rules.split())
    finding = _of(f"redis://poor:pass-word@{place}")[name]
    assert finding.state is State.FAIL
    assert said in finding.found


def test_the_rights_that_are_advised_are_enough(serve: Serve) -> None:
    place = serve()
    rules = "~penstock:* &* +@read +@write +@pubsub +@scripting +@transaction +@connection -@admin -@dangerous"
    with _client(place) as client:
        client.execute_command("ACL", "SETUSER", "ours", "on", ">pass-word", *rules.split(), "+info", "+time")
    found = _of(f"redis://ours:pass-word@{place}")
    assert found["rights"].state is State.OK
    assert found["clock"].state is State.OK
    assert rules in _of_poor(place)["rights"].advice


def _of_poor(place: str) -> dict[str, Finding]:
    with _client(place) as client:
        client.execute_command("ACL", "SETUSER", "poor", "on", ">pass-word", "~x", "+@all")
    return _of(f"redis://poor:pass-word@{place}")


def test_a_redis_that_is_not_there() -> None:
    (finding,) = _of(f"redis://:{QUOTED}@127.0.0.1:{_port()}/0").values()
    assert finding.state is State.FAIL
    assert "cannot be reached" in finding.found


def _at(folder: Path) -> dict[str, Finding]:
    return {finding.name: finding for finding in examined("storage", lambda: storage(folder))}


def _mounted(place: Path, *options: str) -> None:
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None or subprocess.run([mount, *options, str(place)], capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of one megabyte."""
    place = tmp_path / "small"
    _mounted(place, "-t", "tmpfs", "-o", "size=1m", "tmpfs")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_folder_as_it_should_be(tmp_path: Path) -> None:
    found = _at(tmp_path / "not" / "yet")
    assert {finding.state for finding in found.values()} == {State.OK}
    assert "only once by each name" in found["storage"].found
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk(small: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        (small / "full").write_bytes(bytes(2**21))
    finding = _at(small / "out")["storage"]
    assert finding.state is State.FAIL
    assert "No space left on device" in finding.found
    assert finding.advice


def test_a_disk_with_few_files_left(small: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=2g,nr_inodes=400", str(small)], check=True)
    (finding,) = free_space(small, (), 8)
    assert finding.state is State.WARN
    assert "more files" in finding.found


def test_a_disk_that_is_read_only(small: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    finding = _at(small)["storage"]
    assert finding.state is State.FAIL
    assert "Read-only file system" in finding.found


def test_a_corpus_whose_rows_would_not_fit(small: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("a line of the corpus\n" * 20_000)
    (finding,) = free_space(small, (str(corpus),), 768)
    assert finding.state is State.FAIL
    assert "documents take about" in finding.found
    (fits,) = free_space(tmp_path, (str(corpus),), 8)
    assert fits.state is State.OK


def _refused(*_: object) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_a_file_system_without_hard_links_renames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", _refused)
    finding = _at(tmp_path)["storage"]
    assert finding.state is State.OK
    assert "it has no hard links" in finding.found


def test_a_file_system_that_can_do_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", _refused)
    monkeypatch.setattr(store.ctypes, "CDLL", lambda *_, **__: object())
    finding = _at(tmp_path)["storage"]
    assert finding.state is State.FAIL
    assert "neither hard links nor renaming without replacement" in finding.found


def test_a_file_system_on_which_the_last_one_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", shutil.copyfile)
    finding = _at(tmp_path)["storage"]
    assert finding.state is State.FAIL
    assert "lets two writers write one name" in finding.found


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    assert "lets two commands hold one lock" in _at(tmp_path)["locks"].found
    monkeypatch.setattr(fcntl, "flock", _refused)
    assert "cannot be locked: Operation not permitted" in _at(tmp_path)["locks"].found
