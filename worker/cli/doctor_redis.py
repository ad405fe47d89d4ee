"""What `doctor` looks at in a Redis: whether a run works there, and what a bad day would cost."""

from __future__ import annotations

import contextlib
import ipaddress
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import redis

from tasks.client import redis_faults
from tasks.fleet import live_workers
from tasks.keys import PREFIX, QUEUE_LIST, RUNS
from worker import address
from worker.broker import EmbeddedRedis
from worker.cli.findings import Finding, State
from worker.cli.output import counted, in_bytes
from worker.settings import Settings

# The first release of each line without the remote code execution of CVE-2025-49844 ("RediShell"), from
# https://github.com/redis/redis/security/advisories/GHSA-4789-qfc9-5f9q and Valkey's release notes of the same day.
SAFE_RELEASES = {
    "redis": ((6, 2, 20), (7, 2, 11), (7, 4, 6), (8, 0, 4), (8, 2, 2)),
    "valkey": ((7, 2, 11), (8, 0, 6), (8, 1, 4)),
}
OLDEST_REDIS = (6, 2)
"""Celery's transport asks for ranges by score as Redis has them since then (ZRANGE … BYSCORE)."""
SKEW_S = 30.0
TIMEOUT_S = 5.0
ACL = (
    f"ACL SETUSER NAME on >PASSWORD ~{PREFIX}* &* +@read +@write +@pubsub +@scripting +@transaction +@connection "
    "-@admin -@dangerous +info +time"
)


def redis_in_use(settings: Settings) -> list[Finding]:
    """The Redis of the settings, or the embedded one, started and stopped. Raises SurroundingsError without one."""
    if settings.broker_url is None:
        with EmbeddedRedis(settings.embedded_redis_bytes) as server:
            info = address.check(server.url)
        # An old release is no danger there: nobody but this user's command can open its socket.
        found = f"no --broker: the embedded {info.server} {info.version} starts and answers"
        return [Finding("redis", State.OK, found)]
    url = settings.broker_url
    address.check(url, TIMEOUT_S)
    with contextlib.closing(address.client(url, TIMEOUT_S)) as client, redis_faults():
        info_of = dict(client.info())
        looks = [release(info_of, address.describe(url)), role(info_of), rights(client), policy(info_of)]
        looks += [memory(info_of, settings.redis_maxmemory_fraction), restart(info_of, _snapshots(client))]
        skew_s = _skew_s(client)
        looks += [clock(skew_s, settings.visibility_timeout_s)] if skew_s is not None else []
        looks.append(access(url))
        if all(look.state is not State.FAIL for look in looks):
            looks.append(keys(client))
    return looks


def release(info: Mapping[str, Any], place: str) -> Finding:
    """Its version: new enough, and without a known way in."""
    server = "valkey" if "valkey_version" in info else "redis"
    version = str(info.get("valkey_version") or info.get("redis_version", "0"))
    found = f"{server} {version} at {place}"
    if server == "redis" and _numbers(version)[:2] < OLDEST_REDIS:
        return Finding("redis", State.FAIL, f"{found} is older than 6.2.", "Update it.")
    if not is_safe(server, version):
        return Finding(
            "redis", State.WARN, f"{found} has a known remote code execution.", "Update it (CVE-2025-49844)."
        )
    return Finding("redis", State.OK, found)


def is_safe(server: str, release_: str) -> bool:
    """Whether a release has the fix of its line; lines that were begun after it have it from the start."""
    numbers = _numbers(release_)
    fixed = SAFE_RELEASES.get(server, ())
    same_line = [safe for safe in fixed if safe[:2] == numbers[:2]]
    return numbers >= (same_line[0] if same_line else max(fixed, default=(0,)))


def role(info: Mapping[str, Any]) -> Finding:
    """Whether it is one that takes writes, and all of them."""
    if int(info.get("cluster_enabled", 0)):
        return Finding("role", State.FAIL, "It is part of a cluster, which Celery cannot use.", "Name a single Redis.")
    if info.get("role", "master") != "master":
        return Finding("role", State.FAIL, "It is a replica, which takes no writes.", "Name its master.")
    return Finding("role", State.OK, "a single server that takes writes")


def rights(client: redis.Redis) -> Finding:
    """Whether this user may do what a run does, done on keys of the doctor's own; and whether Redis takes writes."""
    key = f"{PREFIX}doctor:{uuid.uuid4().hex}"
    denied: list[str] = []
    try:
        for name, step in _steps(client, key).items():
            try:
                step()
            except redis.exceptions.NoPermissionError as error:
                denied.append(f"{name} on {PREFIX}*" if " key" in str(error) else name)
    except redis.exceptions.ResponseError as error:
        advice = {"OutOfMemoryError": "Raise maxmemory, or remove what fills it."}.get(
            type(error).__name__, "Mend that first."
        )
        return Finding("rights", State.FAIL, f"It refuses writes: {' '.join(str(error).split())[:160]}.", advice)
    finally:
        with contextlib.suppress(redis.RedisError):
            client.delete(*(f"{key}:{kind}" for kind in ("text", "hash", "sorted", "set", "list")))
    if denied:
        return Finding("rights", State.FAIL, f"This user may not use {', '.join(denied)}.", f"Set: {ACL}")
    return Finding("rights", State.OK, f"this user may do what a run does with {PREFIX}*")


def _steps(client: redis.Redis, key: str) -> dict[str, Callable[[], object]]:
    def subscribed() -> None:
        with contextlib.closing(client.pubsub()) as listener:  # type: ignore[no-untyped-call]  # it has no types
            listener.subscribe(f"{PREFIX}/0.celery.pidbox")
            listener.parse_response(block=True)

    def watched() -> None:
        with client.pipeline() as pipe:
            pipe.watch(f"{key}:text")  # type: ignore[no-untyped-call]  # it has no types
            pipe.multi()
            pipe.get(f"{key}:text")
            pipe.execute()

    return {
        "SET": lambda: client.set(f"{key}:text", "1", ex=60),
        "GET": lambda: client.get(f"{key}:text"),
        "HSET": lambda: client.hset(f"{key}:hash", "field", "1"),
        "HGETALL": lambda: client.hgetall(f"{key}:hash"),
        "ZADD": lambda: client.zadd(f"{key}:sorted", {"member": 1}),
        "ZRANGE": lambda: client.zrange(f"{key}:sorted", 0, -1),
        "SADD": lambda: client.sadd(f"{key}:set", "member"),
        "LPUSH": lambda: client.lpush(f"{key}:list", "1"),
        "LRANGE": lambda: client.lrange(f"{key}:list", 0, -1),
        "BRPOP": lambda: client.brpop([f"{key}:list"], timeout=1),
        "EXPIRE": lambda: client.expire(f"{key}:hash", 60),
        "EVALSHA": lambda: client.register_script("return redis.call('GET', KEYS[1])")(keys=[f"{key}:text"]),
        "MULTI": watched,
        "PUBLISH": lambda: client.publish(f"{PREFIX}doctor", "1"),
        "SUBSCRIBE": subscribed,
        "TIME": client.time,
        "UNLINK": lambda: client.unlink(f"{key}:text"),
    }


def policy(info: Mapping[str, Any]) -> Finding:
    """What it does when it is full."""
    found = str(info.get("maxmemory_policy") or "unknown")
    if found != "noeviction":
        return Finding(
            "policy",
            State.FAIL,
            f"It drops keys when it is full (maxmemory-policy {found}).",
            "Set: CONFIG SET maxmemory-policy noeviction",
        )
    return Finding("policy", State.OK, "it says so when it is full (noeviction)")


def memory(info: Mapping[str, Any], fraction: float) -> Finding:
    """How much it may use, and how much is left."""
    limit, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    if limit == 0:
        return Finding(
            "memory",
            State.WARN,
            f"{in_bytes(used)} in use, and no limit: it may fill the machine.",
            "Set: CONFIG SET maxmemory 1gb (or what it may use)",
        )
    found = f"{in_bytes(used)} of {in_bytes(limit)} in use"
    if used > fraction * limit:
        return Finding(
            "memory",
            State.FAIL,
            f"{found}: above {fraction:.0%} nothing is published.",
            "Raise maxmemory, or remove what fills it.",
        )
    return Finding("memory", State.OK, found)


def restart(info: Mapping[str, Any], snapshots: str | None) -> Finding:
    """What its restart would cost: never a row, since the folder is the record, but time."""
    appends = bool(info.get("aof_enabled", 0))
    if appends and info.get("aof_last_write_status", "ok") != "ok":
        return Finding(
            "restart", State.FAIL, "It cannot write its append-only file.", "Is its disk full? Its log says more."
        )
    if appends:
        return Finding("restart", State.OK, "it keeps what it holds (appendonly)")
    keeps = "forgets what came after its last snapshot" if snapshots else "forgets all"
    return Finding(
        "restart",
        State.WARN,
        f"It {keeps} when it restarts: what is in flight is then read from the corpus again.",
        "Set: CONFIG SET appendonly yes (a restart costs time only, never rows)",
    )


def clock(skew_s: float, visibility_timeout_s: float) -> Finding:
    """How far this machine's clock is from Redis'."""
    found = f"{abs(skew_s):,.1f} s {'behind' if skew_s > 0 else 'ahead of'} Redis' clock"
    if abs(skew_s) > SKEW_S:
        return Finding(
            "clock",
            State.WARN,
            f"This machine is {found}; leases go by Redis' own, but from {visibility_timeout_s:,.0f} s on Celery "
            "delivers messages at the wrong time.",
            "Set the clocks by NTP.",
        )
    return Finding("clock", State.OK, f"this machine is {found}")


def access(url: str) -> Finding:
    """Who can reach it."""
    parts = urlsplit(address.client_url(url))
    if parts.scheme == "unix" or _is_loopback(parts.hostname or "localhost"):
        return Finding("access", State.OK, "from this machine only, by this address")
    if parts.password is None:
        return Finding(
            "access",
            State.WARN,
            f"{parts.hostname} asks for no password: whoever reaches it can read the texts, and stop runs.",
            "Set: CONFIG SET requirepass …, or a user with an ACL, and leave protected-mode on",
        )
    if parts.scheme != "rediss":
        return Finding("access", State.OK, f"{parts.hostname} with a password, but unencrypted (rediss:// would be)")
    return Finding("access", State.OK, f"{parts.hostname} with a password, encrypted")


def keys(client: redis.Redis) -> Finding:
    """What of ours is there."""
    runs, messages = counted(client.hlen(RUNS), "run"), counted(client.llen(QUEUE_LIST), "message")
    workers = counted(len(live_workers(client)), "live worker")
    return Finding("keys", State.OK, f"{PREFIX}*: {runs}, {workers}, {messages} waiting")


def _skew_s(client: redis.Redis) -> float | None:
    """Redis' clock minus this machine's, in seconds; None where it may not be asked (its rights say so)."""
    try:
        before = time.time()
        seconds, micros = client.time()
        return float(seconds) + micros / 1e6 - (before + time.time()) / 2
    except redis.exceptions.NoPermissionError:
        return None


def _snapshots(client: redis.Redis) -> str | None:
    """When it writes snapshots; None where it may not be asked."""
    try:
        return str(client.config_get("save").get("save", ""))
    except redis.exceptions.ResponseError:
        return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3] if part.isdecimal())
