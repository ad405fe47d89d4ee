"""A Redis transport whose acknowledgements cannot wedge a worker, and that lets in no message but ours.

kombu's ``QoS.ack`` raises before it frees the prefetch slot when Redis refuses or the connection drops at that
moment; with one slot the worker then never consumes again (kombu 5.7 ``kombu/transport/redis.py``, reproduced). Here
the slot is freed in any case. The message stays in ``unacked`` and comes back after the visibility timeout, where the
ledger knows that its batch is closed.

What is in the queue is read by :mod:`tasks.admission` before kombu sees it: kombu decompresses whatever says that it is
compressed, without a limit, and an exception there ends the worker.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable
from queue import Empty
from typing import Any, cast

import redis.exceptions
from kombu.transport import TRANSPORT_ALIASES, _transport_cache
from kombu.transport import redis as kombu_redis

from tasks.admission import MAX_MESSAGE_BYTES, ForeignMessageError, admitted
from tasks.connections import doubting
from tasks.keys import EXTRACT_QUEUE

logger = logging.getLogger(__name__)

TRANSPORT = "tasks.acknowledge:SafeTransport"


class SafeQoS(kombu_redis.QoS):
    """Frees the prefetch slot even when Redis does not take the acknowledgement."""

    def ack(self, delivery_tag: str) -> None:
        self._settle(delivery_tag, super().ack)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        self._settle(delivery_tag, functools.partial(super().reject, requeue=requeue))

    def _settle(self, delivery_tag: str, settle: Callable[[str], object]) -> None:
        try:
            try:
                settle(delivery_tag)
            except self.channel.connection_errors:
                settle(delivery_tag)  # once more, on a new connection: what is settled already stays so
        except BaseException:
            self._quick_ack(delivery_tag)
            raise

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        """Put a message back that nobody acknowledged in time; what is none goes: it would end whoever looks."""
        try:
            super().restore_by_tag(tag, client, leftmost)  # type: ignore[no-untyped-call]  # it has no types
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            logger.error("An unacknowledged entry is dropped: it is no message of Celery.")
            self._remove_from_indices(tag).execute()  # type: ignore[no-untyped-call]  # it has no types


class SafeChannel(kombu_redis.Channel):
    """A channel with :class:`SafeQoS`."""

    QoS = SafeQoS

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        """Those of BRPOP and of broadcasts are left as they are: kombu watches them, and registers their sockets."""
        if self.connection is None:
            # Closed by an error while something is published on it: kombu opens another channel for this exception
            # and fails on None for good without it.
            raise redis.exceptions.ConnectionError("The channel is closed")
        # kombu has no types
        parameters: dict[str, Any] = super()._connparams(asynchronous)  # type: ignore[no-untyped-call]
        if not asynchronous:
            parameters["connection_class"] = doubting(parameters["connection_class"])
        return parameters

    def _brpop_read(self, **options: Any) -> Any:
        """Hand the next message on; Empty where there is none, or none of ours, which is dropped."""
        try:
            try:
                reply = self.client.parse_response(self.client.connection, "BRPOP", **options)
            except self.connection_errors:
                self.client.connection.disconnect()  # so that the next one connects anew
                raise
            if not reply:
                raise Empty
            queue, entry = reply[0].decode().rsplit(self.sep, 1)[0], reply[1]
            self._queue_cycle.rotate(queue)
            try:
                message = admitted(entry) if queue == EXTRACT_QUEUE else _reply(entry)
            except ForeignMessageError as error:
                logger.error("An entry of the queue is dropped: %s.", error)
                raise Empty from None
            self.connection._deliver(message, queue)
            return True
        finally:
            self._in_poll = None  # type: ignore[assignment] # as kombu itself does
            self._flush_brpop_reauth()  # type: ignore[no-untyped-call]  # it has no types

    def _receive_one(self, c: Any) -> Any:
        """A broadcast, or Empty where there is none that can be read."""
        try:
            return super()._receive_one(c)  # type: ignore[no-untyped-call]  # it has no types
        except RecursionError:
            logger.error("A broadcast is dropped: it is nested too deep.")
            raise Empty from None

    def _deliver_fanout_message(self, message: Any, exchange: str) -> Any:
        if not _looks_like_a_message(message):
            logger.error("A broadcast is dropped: it is no message.")
            raise Empty
        return super()._deliver_fanout_message(message, exchange)  # type: ignore[no-untyped-call]  # it has no types


def _reply(entry: bytes) -> dict[str, Any]:
    """What another worker answers to a broadcast: each has a queue of its own for that. Raises ForeignMessageError."""
    try:
        message = json.loads(entry) if len(entry) <= MAX_MESSAGE_BYTES else None
    except (ValueError, RecursionError) as error:
        raise ForeignMessageError("it is no answer to a broadcast") from error
    if not _looks_like_a_message(message):
        raise ForeignMessageError("it is no answer to a broadcast")
    return cast(dict[str, Any], message)


def _looks_like_a_message(message: Any) -> bool:
    """Whether kombu can make a message of it without an exception, and without decompressing anything."""
    if not isinstance(message, dict) or not isinstance(message.get("properties"), dict):
        return False
    properties, headers = message["properties"], message.get("headers")
    return (
        isinstance(properties.get("delivery_tag"), str)
        and isinstance(properties.get("delivery_info") or {}, dict)
        and isinstance(headers or {}, dict)
        and not (headers or {}).get("compression")
        and isinstance(message.get("body") or "", str)
        and properties.get("body_encoding") in (None, "base64")
    )


class SafeTransport(kombu_redis.Transport):
    """kombu's Redis transport with :class:`SafeChannel`."""

    Channel = SafeChannel


def install() -> None:
    """Make every ``redis`` url use the safe transport."""
    aliases: dict[str, Any] = TRANSPORT_ALIASES
    for scheme in ("redis", "rediss"):
        aliases[scheme] = TRANSPORT
        _transport_cache.pop(scheme, None)  # filled where somebody has opened a connection before
