"""Connections to Redis on a network that forgets: what the kernel is told to watch, and what one timeout tells of all.

A firewall that lost its table, a moved address or a frozen host leave connections half open: nothing comes back, and
nobody is told. Each is found out by its own timeout, and a worker's parent has several, one after the other.
"""

from __future__ import annotations

import functools
import socket
from typing import Any, cast

import redis.exceptions
from redis.connection import AbstractConnection


def keepalive_options() -> dict[int, int]:
    """For TCP: a peer that acknowledges nothing is given up after about 20 s, whether we send or wait."""
    wanted = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 2, "TCP_USER_TIMEOUT": 20_000}
    return {getattr(socket, name): value for name, value in wanted.items() if hasattr(socket, name)}


class _Doubts:
    """Timeouts seen in this process: a connection that was opened before the last one is not trusted."""

    count = 0


@functools.cache
def doubting(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    """A kind of connection that is opened anew before it is used, once any of them has waited in vain."""

    class Doubting(kind):  # type: ignore[misc,valid-type] # mypy knows no class made of an argument
        doubts = 0

        def connect_check_health(self, *arguments: Any, **options: Any) -> Any:
            if self._sock is None:  # pools also "connect" what is connected
                self.doubts = _Doubts.count
            return super().connect_check_health(*arguments, **options)

        def send_packed_command(self, *arguments: Any, **options: Any) -> Any:
            if self._sock is not None and self.doubts != _Doubts.count:
                self.disconnect()
            return super().send_packed_command(*arguments, **options)

        def read_response(self, *arguments: Any, **options: Any) -> Any:
            try:
                return super().read_response(*arguments, **options)
            except redis.exceptions.TimeoutError:
                _Doubts.count += 1
                raise

    return cast(type[AbstractConnection], Doubting)
