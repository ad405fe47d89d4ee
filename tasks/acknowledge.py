"""A Redis transport whose acknowledgements cannot wedge a worker.

kombu's ``QoS.ack`` raises before it frees the prefetch slot when Redis refuses or the connection drops at that
moment; with one slot the worker then never consumes again (kombu 5.7 ``kombu/transport/redis.py``, reproduced). Here
the slot is freed in any case. The message stays in ``unacked`` and comes back after the visibility timeout, where the
ledger knows that its batch is closed.
"""

from __future__ import annotations

import logging
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, _transport_cache
from kombu.transport import redis as kombu_redis

logger = logging.getLogger(__name__)

TRANSPORT = "tasks.acknowledge:SafeTransport"


class SafeQoS(kombu_redis.QoS):
    """Frees the prefetch slot even when Redis does not take the acknowledgement."""

    def ack(self, delivery_tag: str) -> None:
        try:
            super().ack(delivery_tag)  # type: ignore[no-untyped-call] # kombu has few types
        except BaseException:
            self._quick_ack(delivery_tag)
            raise

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        try:
            super().reject(delivery_tag, requeue=requeue)  # type: ignore[no-untyped-call]
        except BaseException:
            self._quick_ack(delivery_tag)
            raise


class SafeChannel(kombu_redis.Channel):
    """A channel with :class:`SafeQoS`."""

    QoS = SafeQoS

    def _brpop_read(self, **options: Any) -> Any:
        """A message, or Empty. What is no message at all is dropped here: it would end the worker."""
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except ValueError:
            logger.error("An entry of the queue is no message and is dropped.")
            raise Empty from None


class SafeTransport(kombu_redis.Transport):
    """kombu's Redis transport with :class:`SafeChannel`."""

    Channel = SafeChannel


def install() -> None:
    """Make every ``redis`` url use the safe transport."""
    aliases: dict[str, Any] = TRANSPORT_ALIASES
    for scheme in ("redis", "rediss"):
        aliases[scheme] = TRANSPORT
        _transport_cache.pop(scheme, None)  # filled where somebody has opened a connection before
