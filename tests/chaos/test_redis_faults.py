"""A Redis that is killed, emptied, full, without a disk, paused, read-only or locked: the dataset comes out right."""

from __future__ import annotations

import contextlib
import json
import time

import pytest
import redis
from chaos.disturbance import until
from chaos.scenes import LONG, Outcomes, Scene, scene, scenes_of
from chaos.server import NO_LIMIT, PASSWORD

KILLS = 100 if LONG else 10


@scene("killed again and again")
def killed(on: Scene) -> None:
    """SIGKILL, ten times or a hundred; it comes back with what its append-only file holds."""
    command = on.run()
    for number in range(KILLS):
        on.parts(2 + 30 * number // KILLS, command)
        on.server.kill()
        time.sleep(0.3)
        on.server.start()
    on.ends_well(command)


@scene("without persistence")
def forgetful(on: Scene) -> None:
    """Killed, and shut down, without persistence: it comes back empty, once after 5 s."""
    on.client.config_set("appendonly", "no")
    on.server.append_only = False
    command = on.run()
    for number in range(3):
        on.parts(3 + 5 * number, command)
        if number == 1:
            with contextlib.suppress(redis.ConnectionError):
                on.client.shutdown(nosave=True)
            on.server.wait()
            time.sleep(5)
        else:
            on.server.kill()
        for kept in on.server.folder.glob("*.aof"):
            kept.unlink()
        on.server.start()
    on.ends_well(command)


@scene("flushed")
def flushed(on: Scene) -> None:
    command = on.run()
    for number in range(5):
        on.parts(3 + 4 * number, command)
        on.client.flushall()
    on.ends_well(command)


@scene("full for a while")
def full(on: Scene) -> None:
    """At maxmemory nothing can be published, claimed or acknowledged; raised again, it goes on."""
    command = on.run()
    on.parts(4, command)
    on.client.config_set("maxmemory", "1")
    until(lambda: "maxmemory" in command.log.read_text(), "a line about the memory", command)
    time.sleep(10)
    on.client.config_set("maxmemory", on.server.maxmemory_bytes)
    on.pours(command)
    on.ends_well(command)


@scene("filled by others")
def filled_by_others(on: Scene) -> None:
    """Filled by somebody else before the run begins, and nobody raises the limit: it ends, and says why in a line."""
    on.client.set("somebody-else's", b"x" * 9_000_000)
    on.client.config_set("maxmemory", "14mb")
    command = on.run()
    assert command.wait() == 3, command.tail()
    error = json.loads(command.log.read_text().splitlines()[-1])["error"]
    assert "Redis uses" in error["message"]
    assert "raise maxmemory" in error["hint"]
    on.client.delete("somebody-else's")
    resumed = on.start("resume", on.out, "--broker", on.url, "--json")
    on.ends_well(resumed)


@scene("no disk")
def no_disk(on: Scene) -> None:
    """Its append-only file cannot grow: Redis refuses every write until it can."""
    command = on.run()
    on.parts(4, command)
    on.server.limit_files(1)
    until(lambda: "MISCONF" in command.log.read_text(), "a line about the disk", command)
    time.sleep(8)
    on.server.limit_files(NO_LIMIT)
    on.pours(command)
    on.ends_well(command)


@scene("paused")
def paused(on: Scene) -> None:
    command = on.run()
    for pause_s in (8, 20):
        on.pours(command)
        on.client.client_pause(pause_s * 1000)
    on.ends_well(command)


@scene("clients killed")
def clients_killed(on: Scene) -> None:
    """Every connection is closed by the server, again and again."""
    command = on.run()
    on.parts(2, command)
    for _ in range(25):
        time.sleep(0.4)
        for kind in ("normal", "pubsub"):
            on.client.client_kill_filter(_type=kind, skipme=True)
    on.ends_well(command)


@scene("read only")
def read_only(on: Scene) -> None:
    """It becomes the replica of a server that is not there: it answers, and refuses to write."""
    command = on.run()
    on.parts(4, command)
    on.client.replicaof("127.0.0.1", "1")
    until(lambda: "read only" in command.log.read_text(), "a line about the replica", command)
    time.sleep(8)
    on.client.replicaof("NO", "ONE")
    on.pours(command)
    on.ends_well(command)


@scene("locked")
def locked(on: Scene) -> None:
    """The password is changed, nobody who connects gets in; then it is changed back."""
    command = on.run()
    on.parts(4, command)
    on.client.config_set("requirepass", "another")
    with redis.Redis.from_url(on.server.client_url.replace(PASSWORD, "another")) as client:
        client.client_kill_filter(_type="normal", skipme=True)
        until(lambda: "password" in command.log.read_text(), "a line about the password", command)
        time.sleep(8)
        client.config_set("requirepass", PASSWORD)
    on.pours(command)
    on.ends_well(command)


@scene("embedded")
def embedded(on: Scene) -> None:
    """The Redis that the command brought along is killed five times, and stopped for 20 s once."""
    command = on.start(*on.arguments("run"))
    for number in range(5):
        on.parts(3 + 4 * number, command)
        command.redis().kill()
        if number == 2:
            on.pours(command)
            stopped = command.redis()
            stopped.suspend()
            time.sleep(20)
            stopped.resume()
    on.ends_well(command)


@pytest.mark.parametrize("name", scenes_of(__name__))
def test_a_redis_that_fails(outcomes: Outcomes, name: str) -> None:
    outcomes[name].result()
