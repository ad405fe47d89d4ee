"""What is promised of Celery: one task, small messages, settings in force, and that a failed ack cannot wedge it."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from typing import Any

import kombu
import pytest
import redis
from celery import Celery
from celery.contrib.testing.worker import start_worker
from celery.exceptions import QueueNotFound
from integration.open_runs import Run
from integration.worker_resources import WorkerResources
from kombu.transport.redis import QoS

from pipelines.errors import InfrastructureError
from tasks.acknowledge import SafeTransport
from tasks.app import Delivery, make_app, resources_of, send_batch
from tasks.flight import Publisher
from tasks.keys import EXTRACT_QUEUE, EXTRACT_TASK, PREFIX, QUEUE_LIST, UNACKED_HASH
from worker.broker import EmbeddedRedis

SETTINGS = {
    "broker_connection_retry": True,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "broker_channel_error_retry": True,
    "broker_pool_acquire_timeout": 30,
    "broker_connection_timeout": 5,
    "task_acks_late": True,
    "task_acks_on_failure": True,
    "task_acks_on_timeout": True,
    "task_reject_on_worker_lost": False,
    "task_retry_on_worker_lost": False,
    "task_time_limit": None,
    "task_soft_time_limit": None,
    "worker_prefetch_multiplier": 1,
    "worker_disable_prefetch": False,
    "worker_concurrency": 1,
    "worker_pool": "prefork",
    "worker_pool_start_method": "spawn",
    "worker_proc_alive_timeout": 300,
    "worker_max_tasks_per_child": None,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_enable_prefetch_count_reduction": True,
    "worker_soft_shutdown_timeout": 30.0,
    "worker_enable_soft_shutdown_on_idle": False,
    "result_backend": None,
    "task_ignore_result": True,
    "task_track_started": False,
    "task_create_missing_queues": False,
    "task_serializer": "json",
    "accept_content": ["json"],
    "result_accept_content": ["json"],
    "event_serializer": "json",
    "worker_send_task_events": False,
    "task_send_sent_event": False,
    "worker_deduplicate_successful_tasks": False,
    "task_publish_retry": True,
    "task_publish_retry_policy": {"max_retries": 3, "interval_start": 0, "interval_step": 0.2, "interval_max": 1},
}
CHANNEL = {
    "visibility_timeout": 1800,
    "unacked_restore_interval": 15,
    "unacked_restore_throttle": 1,
    "unacked_restore_limit": 100,
    "unacked_mutex_expire": 30,
    "socket_timeout": 15,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 10,
    "retry_on_timeout": False,
    "global_keyprefix": PREFIX,
}


def test_the_only_task_is_ours() -> None:
    """In an interpreter of its own, with all that a worker imports; and without torch, which only the child loads."""
    code = (
        "import sys; from worker.app import connect; from worker.settings import Settings\n"
        "app = connect(Settings(), 'redis://localhost:1/0'); app.loader.import_default_modules(); app.finalize()\n"
        "print([name for name in app.tasks if not name.startswith('celery.')], 'torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert answer.stdout == f"[{EXTRACT_TASK!r}] False\n"


def test_the_task_may_not_be_retried_by_celery(app: Celery) -> None:
    app.loader.import_default_modules()
    task = app.tasks[EXTRACT_TASK]
    assert (task.acks_late, task.ignore_result, hasattr(task, "autoretry_for")) == (True, True, False)
    assert (task.time_limit, task.soft_time_limit, task.reject_on_worker_lost) == (None, None, False)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_is_in_force(app: Celery, name: str) -> None:
    assert app.conf[name] == SETTINGS[name]


@pytest.mark.parametrize("option", CHANNEL)
def test_an_option_reaches_the_channel(app: Celery, option: str) -> None:
    """kombu ignores options that it does not know, so each is asked for where it is used."""
    with app.connection_for_read() as connection, connection.channel() as channel:
        assert getattr(channel, option) == CHANNEL[option]


def test_a_deployment_may_set_its_own_timeouts() -> None:
    with make_app("redis://localhost:1/0", Delivery(60, 5.0, redis_timeout_s=7.0, process_start_timeout_s=9.0)) as app:
        assert app.conf.broker_transport_options["socket_timeout"] == 7.0
        assert app.conf.worker_proc_alive_timeout == 9.0
        assert app.conf.broker_transport_options["visibility_timeout"] == 60
        assert app.conf.worker_soft_shutdown_timeout == 5.0


def test_there_is_one_queue_and_no_other_is_made(app: Celery) -> None:
    assert list(app.amqp.queues) == [EXTRACT_QUEUE]
    assert app.conf.task_default_queue == EXTRACT_QUEUE
    with pytest.raises(QueueNotFound, match="elsewhere"):
        app.send_task(EXTRACT_TASK, args=("r", 0), queue="elsewhere")


@pytest.mark.parametrize("url", ["redis://h/0", "rediss://h/0", "redis+socket:///s"])
def test_every_kind_of_address_has_the_transport_that_cannot_be_wedged(url: str) -> None:
    with make_app(url) as app:
        assert isinstance(app.connection_for_read().transport, SafeTransport)


def test_a_message_is_two_ids(app: Celery, client: redis.Redis) -> None:
    run = "0123456789abcdef"
    send_batch(app, run, 123_456_789)
    (raw,) = client.lrange(QUEUE_LIST, 0, -1)
    message = json.loads(raw)
    arguments, options, _ = json.loads(base64.b64decode(message["body"]))
    assert (arguments, options) == ([run, 123_456_789], {})
    assert message["headers"]["id"] == f"{run}:123456789"
    assert message["headers"]["task"] == EXTRACT_TASK
    assert len(raw) < 2000


def test_no_text_gets_into_a_message(run: Run) -> None:
    run.plan()
    run.publish(0)
    (raw,) = run.client.lrange(QUEUE_LIST, 0, -1)
    assert len(raw) < 2000
    assert b"river" not in raw
    assert b"river" not in base64.b64decode(json.loads(raw)["body"])
    assert str(run.store.root).encode() not in raw


def test_every_key_has_the_prefix(run: Run) -> None:
    run.plan()
    run.publish(0)
    with run.app.connection_for_read() as connection:
        message = run.app.amqp.queues[EXTRACT_QUEUE].bind(connection.channel()).get()
        assert all(key.startswith(PREFIX.encode()) for key in run.client.keys("*"))
        assert run.client.exists(UNACKED_HASH)
        message.ack()


def test_a_redis_that_takes_no_message_is_nobodys_fault(run: Run, fresh_redis: EmbeddedRedis) -> None:
    run.plan()
    run.publish(0)
    fresh_redis.kill()
    with make_app(fresh_redis.url) as app, pytest.raises(InfrastructureError, match="did not take a message"):
        Publisher(app, run.ledger, run.bodies, ()).republish(0)


def test_outside_a_worker_there_are_no_resources(app: Celery) -> None:
    with pytest.raises(AttributeError):
        resources_of(app)


class AckFailure:
    """Acknowledgements that Redis does not take: the next ``armed`` ones."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.armed = 0
        self.failed = 0
        original = QoS._remove_from_indices

        def removed(qos: QoS, *arguments: Any, **options: Any) -> Any:
            if self.armed:
                self.armed -= 1
                self.failed += 1
                raise redis.ConnectionError("Connection reset by peer")
            return original(qos, *arguments, **options)

        monkeypatch.setattr(QoS, "_remove_from_indices", removed)


@pytest.mark.parametrize("refusal", ["ack", "reject"])
def test_a_failed_acknowledgement_frees_its_slot(
    app: Celery, client: redis.Redis, monkeypatch: pytest.MonkeyPatch, refusal: str
) -> None:
    for batch in range(3):
        send_batch(app, "r", batch)
    failure = AckFailure(monkeypatch)
    received: list[kombu.Message] = []
    with app.connection_for_read() as connection:
        channel = connection.channel()
        queue = app.amqp.queues[EXTRACT_QUEUE]
        consumer = kombu.Consumer(channel, [queue], on_message=received.append, accept=["json"])
        consumer.qos(prefetch_count=1)
        consumer.consume()
        connection.drain_events(timeout=10)
        assert not channel.qos.can_consume()
        failure.armed = 2  # it is tried twice
        with pytest.raises(redis.ConnectionError):
            getattr(received[0], refusal)()
        assert channel.qos.can_consume()
        for count in (2, 3):
            connection.drain_events(timeout=10)
            assert len(received) == count
            received[-1].ack()
        consumer.cancel()
    assert failure.failed == 2
    (left,) = client.hvals(UNACKED_HASH)  # it comes back after the visibility timeout
    assert json.loads(left)[0]["headers"]["id"] == "r:0"


@pytest.mark.parametrize("settle", ["ack", "reject"])
def test_an_acknowledgement_that_was_lost_on_its_way_is_repeated(
    app: Celery, client: redis.Redis, monkeypatch: pytest.MonkeyPatch, settle: str
) -> None:
    send_batch(app, "0123456789abcdef", 0)
    failure = AckFailure(monkeypatch)
    with app.connection_for_read() as connection:
        message = app.amqp.queues[EXTRACT_QUEUE].bind(connection.channel()).get()
        failure.armed = 1
        getattr(message, settle)()
    assert failure.failed == 1
    assert client.hlen(UNACKED_HASH) == 0


def test_a_worker_goes_on_after_a_failed_acknowledgement(
    run: Run, worker: WorkerResources, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.plan()
    run.publish(0, 1, 2)
    failure = AckFailure(monkeypatch)
    failure.armed = 2
    with start_worker(run.app, pool="solo", perform_ping_check=False, shutdown_timeout=30):
        deadline = time.monotonic() + 60
        while run.ledger.state().batches < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
    assert failure.failed == 2
    assert run.ledger.state().batches == 3
    assert run.store.list("data") == [f"part-0000000{batch}.parquet" for batch in range(3)]
