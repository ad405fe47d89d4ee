"""Half-open connections: a command is repeated once, and what one timeout tells is told of all connections."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from chaos.proxy import Proxy

from tasks.app import Delivery, make_app
from tasks.client import connect
from tasks.connections import keepalive_options
from worker.broker import EmbeddedRedis, password

TIMEOUT_S = 1.0
IDLE = 3


@pytest.fixture
def proxy(redis_server: EmbeddedRedis) -> Iterator[Proxy]:
    with Proxy(str(redis_server.socket)) as proxy:
        yield proxy


@pytest.fixture
def url(redis_server: EmbeddedRedis, proxy: Proxy) -> str:
    return f"redis://:{password(redis_server.url)}@127.0.0.1:{proxy.port}/0"


def test_a_client_repeats_what_got_no_answer(url: str, proxy: Proxy) -> None:
    client = connect(url, TIMEOUT_S)
    client.set("half-open", "before")
    proxy.abandon()
    assert client.get("half-open") == b"before"
    client.close()


def test_a_client_gives_up_where_nobody_ever_answers(url: str, proxy: Proxy) -> None:
    client = connect(url, TIMEOUT_S)
    client.ping()
    proxy.frozen = True
    with pytest.raises(redis.TimeoutError):
        client.ping()
    client.close()


def test_one_timeout_is_enough_for_all_connections_of_a_worker(url: str, proxy: Proxy) -> None:
    with (
        make_app(url, Delivery(redis_timeout_s=TIMEOUT_S)) as app,
        app.connection_for_write() as connection,
        connection.channel() as channel,
    ):
        idle = [channel.pool.get_connection() for _ in range(IDLE)]
        for one in idle:
            one.send_command("PING")
            one.read_response()
        proxy.abandon()
        idle[0].send_command("PING")
        with pytest.raises(redis.TimeoutError):
            idle[0].read_response()
        for one in idle[1:]:  # these would wait in vain too
            one.send_command("PING")
            assert one.read_response() in (b"PONG", "PONG")
        accepted = proxy.accepted
        for one in idle[1:]:
            one.send_command("PING")
            one.read_response()
            channel.pool.release(one)
        channel.pool.release(idle[0])
        assert proxy.accepted == accepted, "a connection that answers is kept"


def test_the_kernel_watches_too(url: str) -> None:
    client = connect(url, TIMEOUT_S)
    client.ping()
    connection = client.connection_pool.get_connection()
    for option, value in keepalive_options().items():
        assert connection._sock.getsockopt(6, option) == value
    client.connection_pool.release(connection)
    client.close()


def test_a_channel_that_was_closed_says_so_in_words_that_kombu_knows(url: str) -> None:
    """While connections are cut again and again, kombu publishes on closed channels, and failed there on None."""
    with make_app(url) as app, app.connection_for_write() as connection:
        channel = connection.channel()
        channel.close()
        with pytest.raises(connection.recoverable_connection_errors, match="closed"):
            channel.queue_declare("penstock.extract")
