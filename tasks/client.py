"""A connection to Redis for everything that is not Celery's own, and its faults in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, cast

import redis
import redis.exceptions
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from pipelines.errors import InfrastructureError, SurroundingsError
from tasks.connections import keepalive_options


def connect(url: str, timeout_s: float = 15.0) -> redis.Redis:
    """A client for a redis-py url (``redis://``, ``rediss://``, ``unix://``) that waits so long for each answer.

    A command is repeated once after a lost reply; every step of the ledger is safe to repeat.
    Raises SurroundingsError for a url that is none.
    """
    tcp = {} if url.startswith("unix:") else {"socket_keepalive": True, "socket_keepalive_options": keepalive_options()}
    try:
        return redis.Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=min(5.0, timeout_s),
            health_check_interval=10,
            client_name="penstock",
            retry=Retry(ConstantBackoff(0.1), 1),  # from a url it has none by itself
            **tcp,
        )
    except ValueError as error:
        raise SurroundingsError(f"The broker url is not one of Redis: {error}.") from error


class MemoryUse(NamedTuple):
    """Bytes that a Redis uses, has used at its peak, and may use (0: no limit)."""

    used: int
    peak: int
    limit: int


def memory_use(client: redis.Redis) -> MemoryUse:
    """What Redis says of its memory. Raises InfrastructureError when it cannot be asked."""
    with redis_faults():
        memory = cast(dict[str, int], client.info("memory"))
    return MemoryUse(memory["used_memory"], memory.get("used_memory_peak", 0), memory.get("maxmemory", 0))


@contextmanager
def redis_faults() -> Iterator[None]:
    """Turn redis-py's exceptions into InfrastructureError."""
    try:
        yield
    except redis.exceptions.RedisError as error:
        said = str(error).rstrip(".")
        raise InfrastructureError(f"Redis did not do what it was asked: {type(error).__name__}: {said}.") from error
