"""A Redis that is killed, emptied, full, without a disk, paused, read-only or locked: the dataset comes out right."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from chaos.disturbance import until
from chaos.scenes import Outcomes, Play, Scene, played, selected
from chaos.server import NO_LIMIT, PASSWORD

KILLS = 10


def killed(scene: Scene) -> None:
    """SIGKILL, ten times; it comes back with what its append-only file holds."""
    command = scene.run()
    for number in range(KILLS):
        scene.parts(2 + 3 * number, command)
        scene.server.kill()
        time.sleep(0.3)
        scene.server.start()
    scene.ends_well(command)


def forgetful(scene: Scene) -> None:
    """Killed, and shut down, without persistence: it comes back empty, once after 5 s."""
    scene.client.config_set("appendonly", "no")
    scene.server.append_only = False
    command = scene.run()
    for number in range(3):
        scene.parts(3 + 5 * number, command)
        if number == 1:
            with contextlib.suppress(redis.ConnectionError):
                scene.client.shutdown(nosave=True)
            scene.server.wait()
            time.sleep(5)
        else:
            scene.server.kill()
        for kept in scene.server.folder.glob("*.aof"):
            kept.unlink()
        scene.server.start()
    scene.ends_well(command)


def flushed(scene: Scene) -> None:
    command = scene.run()
    for number in range(5):
        scene.parts(3 + 4 * number, command)
        scene.client.flushall()
    scene.ends_well(command)


def full(scene: Scene) -> None:
    """At maxmemory nothing can be published, claimed or acknowledged; raised again, it goes on."""
    command = scene.run()
    scene.parts(4, command)
    scene.client.config_set("maxmemory", "1")
    until(lambda: "maxmemory" in command.log.read_text(), "a line about the memory", command)
    time.sleep(10)
    scene.client.config_set("maxmemory", scene.server.maxmemory_bytes)
    scene.pours(command)
    scene.ends_well(command)


def filled_by_others(scene: Scene) -> None:
    """Filled by somebody else before the run begins, and nobody raises the limit: it ends, and says why in a line."""
    scene.client.set("somebody-else's", b"x" * 9_000_000)
    scene.client.config_set("maxmemory", "14mb")
    command = scene.run()
    assert command.wait() == 3, command.tail()
    error = json.loads(command.log.read_text().splitlines()[-1])["error"]
    assert "Redis uses" in error["message"]
    assert "raise maxmemory" in error["hint"]
    scene.client.delete("somebody-else's")
    resumed = scene.start("resume", scene.out, "--broker", scene.url, "--json")
    scene.ends_well(resumed)


def no_disk(scene: Scene) -> None:
    """Its append-only file cannot grow: Redis refuses every write until it can."""
    command = scene.run()
    scene.parts(4, command)
    scene.server.limit_files(1)
    until(lambda: "MISCONF" in command.log.read_text(), "a line about the disk", command)
    time.sleep(8)
    scene.server.limit_files(NO_LIMIT)
    scene.pours(command)
    scene.ends_well(command)


def paused(scene: Scene) -> None:
    command = scene.run()
    for pause_s in (8, 20):
        scene.pours(command)
        scene.client.client_pause(pause_s * 1000)
    scene.ends_well(command)


def clients_killed(scene: Scene) -> None:
    """Every connection is closed by the server, again and again."""
    command = scene.run()
    scene.parts(2, command)
    for _ in range(25):
        time.sleep(0.4)
        for kind in ("normal", "pubsub"):
            scene.client.client_kill_filter(_type=kind, skipme=True)
    scene.ends_well(command)


def read_only(scene: Scene) -> None:
    """It becomes the replica of a server that is not there: it answers, and refuses to write."""
    command = scene.run()
    scene.parts(4, command)
    scene.client.replicaof("127.0.0.1", "1")
    until(lambda: "read only" in command.log.read_text(), "a line about the replica", command)
    time.sleep(8)
    scene.client.replicaof("NO", "ONE")
    scene.pours(command)
    scene.ends_well(command)


def locked(scene: Scene) -> None:
    """The password is changed, nobody who connects gets in; then it is changed back."""
    command = scene.run()
    scene.parts(4, command)
    scene.client.config_set("requirepass", "another")
    with redis.Redis.from_url(scene.server.client_url.replace(PASSWORD, "another")) as client:
        client.client_kill_filter(_type="normal", skipme=True)
        until(lambda: "password" in command.log.read_text(), "a line about the password", command)
        time.sleep(8)
        client.config_set("requirepass", PASSWORD)
    scene.pours(command)
    scene.ends_well(command)


def embedded(scene: Scene) -> None:
    """The Redis that the command brought along is killed five times, and stopped for 20 s once."""
    command = scene.start(*scene.arguments("run"))
    for number in range(5):
        scene.parts(3 + 4 * number, command)
        command.redis().kill()
        if number == 2:
            scene.pours(command)
            stopped = command.redis()
            stopped.suspend()
            time.sleep(20)
            stopped.resume()
    scene.ends_well(command)


SCENES: dict[str, Play] = {
    "killed ten times": killed,
    "without persistence": forgetful,
    "flushed": flushed,
    "full for a while": full,
    "filled by others": filled_by_others,
    "no disk": no_disk,
    "paused": paused,
    "clients killed": clients_killed,
    "read only": read_only,
    "locked": locked,
    "embedded": embedded,
}


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, thin_model: Path
) -> Iterator[Outcomes]:
    with played(selected(request, SCENES), tmp_path_factory.mktemp("redis"), thin_model) as outcomes:
        yield outcomes


@pytest.mark.parametrize("scene", SCENES)
def test_a_redis_that_fails(outcomes: Outcomes, scene: str) -> None:
    outcomes[scene].result()
