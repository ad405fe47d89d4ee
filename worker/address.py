"""The addresses of a Redis: as each client takes them, as they may be shown, and what the one there says of itself."""

from __future__ import annotations

import contextlib
import re
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import redis

from pipelines.errors import SurroundingsError, UsageError
from worker.settings import redacted, redacted_address


class RedisInfo(NamedTuple):
    """What a Redis says about itself: ``server`` is ``redis`` or ``valkey``; bytes; ``maxmemory`` 0: no limit."""

    server: str
    version: str
    maxmemory: int
    maxmemory_policy: str
    used_memory: int
    used_memory_peak: int
    append_only: bool


def client_url(url: str) -> str:
    """A broker's address as redis-py takes it (``redis://``, ``rediss://``, ``unix://``). Raises UsageError."""
    parts = urlsplit(url)
    if parts.scheme in ("redis", "rediss", "unix"):
        return re.sub(r"(?<=ssl_cert_reqs=)CERT_(\w+)", lambda name: name[1].lower(), url)  # as Celery also writes it
    if parts.scheme != "redis+socket":
        raise UsageError(
            f"{describe(url)} is no address of a Redis.",
            "Wanted: redis://:PASSWORD@HOST:PORT/0, rediss://… or unix://:PASSWORD@/PATH?db=0.",
        )
    query = [("db" if key == "virtual_host" else key, value) for key, value in parse_qsl(parts.query)]
    return _unix("unix", parts.netloc, parts.path, query)


def celery_url(url: str) -> str:
    """A broker's address as Celery takes it: ``unix://`` becomes ``redis+socket://``. Raises UsageError."""
    parts = urlsplit(client_url(url))
    if parts.scheme != "unix":
        return parts.geturl()
    query = [("virtual_host" if key == "db" else key, value) for key, value in parse_qsl(parts.query)]
    return _unix("redis+socket", parts.netloc, parts.path, query)


def password(url: str) -> str | None:
    """The password in an address, if it has one; so that logs can hide it wherever it turns up."""
    found = urlsplit(url).password
    return unquote(found) if found else None


def describe(url: str) -> str:
    """An address that may be shown: without its password."""
    return redacted_address(url)


def check(url: str, timeout_s: float = 5.0, *, or_embedded: bool = False) -> RedisInfo:
    """Ask a Redis who it is; ``or_embedded``: the command can do without it, which the error then says.

    Raises SurroundingsError where it does not answer, UsageError for what is no address.
    """
    try:
        with contextlib.closing(client(url, timeout_s)) as connection:
            info = connection.info()
    except redis.AuthenticationError as error:
        raise SurroundingsError(
            f"Redis at {describe(url)} refuses the password: {_line(error)}.", "Correct the address."
        ) from None
    except redis.exceptions.NoPermissionError as error:
        raise SurroundingsError(
            f"Redis at {describe(url)} does not let this user ask who it is: {_line(error)}.",
            "Give the user more rights; `penstock doctor` says which.",
        ) from None
    except (redis.RedisError, OSError) as error:
        raise SurroundingsError(
            f"Redis at {describe(url)} cannot be reached: {_line(error)}.",
            "Start it, correct --broker or PENSTOCK_BROKER_URL, or leave them out to use the embedded one."
            if or_embedded
            else "Start it, or correct --broker or PENSTOCK_BROKER_URL.",
        ) from None
    return RedisInfo(
        server="valkey" if "valkey_version" in info else "redis",
        version=str(info.get("valkey_version") or info.get("redis_version", "0")),
        maxmemory=int(info.get("maxmemory", 0)),
        maxmemory_policy=str(info.get("maxmemory_policy", "")),
        used_memory=int(info.get("used_memory", 0)),
        used_memory_peak=int(info.get("used_memory_peak", 0)),
        append_only=bool(info.get("aof_enabled", 0)),
    )


def client(url: str, timeout_s: float) -> redis.Redis:
    """A client that waits no longer than that. Raises UsageError for what is no address; connects later."""
    try:
        return redis.Redis.from_url(client_url(url), socket_timeout=timeout_s, socket_connect_timeout=timeout_s)
    except ValueError:  # its text may hold a piece of the password
        raise UsageError(
            f"{describe(url)} is no address of a Redis.", "A password with special characters must be percent-encoded."
        ) from None


def _unix(scheme: str, netloc: str, path: str, query: list[tuple[str, str]]) -> str:
    return f"{scheme}://{netloc}{path}" + (f"?{urlencode(query)}" if query else "")


def _line(error: Exception) -> str:
    return redacted(" ".join(str(error).split())).rstrip(".") or type(error).__name__
