"""The Celery app: names, queue, delivery contract; and the resources that hang on it in a worker's child.

The settings follow from measurements of what Celery 5.7 on Redis really does: the queue is a hint that may lose and
repeat messages, the ledger and the store decide. See docs/delivery.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, Protocol, cast

import redis
from celery import Celery
from kombu.entity import Queue

from pipelines.parts.run_document import RunDocument
from pipelines.parts.store import Store
from tasks import acknowledge
from tasks.admission import message_id
from tasks.connections import keepalive_options
from tasks.keys import EXTRACT_QUEUE, EXTRACT_TASK, PREFIX
from tasks.write_behind import WriteBehind

if TYPE_CHECKING:  # the producers' side of this file must not load torch
    from pipelines.extract import Extractor

TASK_MODULES = ("tasks.extract",)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What of the delivery contract a deployment may set; seconds."""

    visibility_timeout_s: int = 1800
    soft_shutdown_timeout_s: float = 30.0
    redis_timeout_s: float = 15.0
    process_start_timeout_s: float = 300.0


class Resources(Protocol):
    """What a task finds on its app: built in the worker's child after the device is pinned."""

    client: redis.Redis
    owner: str
    slot: str
    device: str
    max_attempts: int
    write_behind: WriteBehind

    @property
    def lease_s(self) -> float:
        """Seconds that a claim or a renewal holds."""
        ...

    def run(self, run: str) -> tuple[Store, RunDocument]:
        """A run's store and its document, from its folder. Raises RunError where this worker cannot see it."""
        ...

    def extractor(self, document: RunDocument) -> Extractor:
        """The loaded Extractor of a run. Raises RunError where it cannot be had here, NotWantedError where the run has
        ended.
        """
        ...

    def working(self, run: str, batch: int) -> AbstractContextManager[None]:
        """Marks the time spent on a batch: log records carry it."""
        ...

    def taking(self, run: str, batch: int) -> AbstractContextManager[Callable[[str, Iterable[int]], None]]:
        """Notes what is taken in hand (stage, documents) where it survives this process; cleared at the end."""
        ...

    def leave(self) -> NoReturn:
        """End this process, its device is lost; what the device was done with before is finished first."""
        ...


def make_app(broker_url: str, delivery: Delivery = Delivery(), include: Sequence[str] = TASK_MODULES) -> Celery:
    """A Celery app that follows the delivery contract. ``include`` names the modules that a worker's child imports."""
    acknowledge.install()
    app = Celery("penstock", set_as_current=False)
    app.conf.update(
        broker_url=broker_url,
        include=list(include),
        broker_transport_options={
            "visibility_timeout": delivery.visibility_timeout_s,  # a backstop only: the ledger's leases decide
            "unacked_restore_interval": 15,
            "unacked_restore_throttle": 1,
            "unacked_restore_limit": 100,
            "unacked_mutex_expire": 30,
            "socket_timeout": delivery.redis_timeout_s,
            "socket_connect_timeout": min(5.0, delivery.redis_timeout_s),
            "health_check_interval": 10,
            "retry_on_timeout": False,  # a repeated LPUSH would be a second message
            "global_keyprefix": PREFIX,
            "client_name": "penstock-celery",
            "socket_keepalive": True,
            "socket_keepalive_options": keepalive_options(),
        },
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,  # a full Redis refuses acknowledgements; the worker must survive that
        broker_pool_acquire_timeout=30,
        broker_connection_timeout=5,
        task_acks_late=True,
        task_acks_on_failure=True,
        task_acks_on_timeout=True,
        task_reject_on_worker_lost=False,  # endless redelivery otherwise; the reconciler publishes again
        task_retry_on_worker_lost=False,
        worker_prefetch_multiplier=1,
        worker_concurrency=1,
        worker_pool="prefork",
        worker_pool_start_method="spawn",
        worker_proc_alive_timeout=delivery.process_start_timeout_s,
        worker_max_tasks_per_child=None,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_enable_prefetch_count_reduction=True,
        worker_soft_shutdown_timeout=delivery.soft_shutdown_timeout_s,
        worker_enable_soft_shutdown_on_idle=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
        result_backend=None,
        task_ignore_result=True,
        task_track_started=False,
        task_send_sent_event=False,
        task_create_missing_queues=False,
        task_default_queue=EXTRACT_QUEUE,
        # kombu has no types
        task_queues=[Queue(EXTRACT_QUEUE, routing_key=EXTRACT_QUEUE)],  # type: ignore[no-untyped-call]
        task_serializer="json",
        accept_content=["json"],
        result_accept_content=["json"],
        task_publish_retry=True,
        task_publish_retry_policy={"max_retries": 3, "interval_start": 0, "interval_step": 0.2, "interval_max": 1},
    )
    return app


def send_batch(app: Celery, run: str, batch: int) -> None:
    """Publish the message of a batch: two ids, no more. The task's id is the same two, so that a sweep can read it.

    Raises kombu's OperationalError when Redis cannot be reached or refuses.
    """
    app.send_task(
        EXTRACT_TASK, args=(run, batch), queue=EXTRACT_QUEUE, task_id=message_id(run, batch), ignore_result=True
    )


def resources_of(app: Celery) -> Resources:
    """The resources of this child. Raises AttributeError in a process that is no worker's child."""
    return cast(Resources, app.penstock)
