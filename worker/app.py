"""The composition root: settings in, a connected Celery app out; and the main function of a pinned worker process."""

from __future__ import annotations

import os
import socket
import warnings
from typing import Any

from billiard.util import get_logger
from celery import Celery
from celery.exceptions import CPendingDeprecationWarning
from celery.platforms import SecurityWarning
from celery.signals import celeryd_after_setup

from tasks.app import TASK_MODULES, Delivery, make_app
from tasks.keys import EXTRACT_QUEUE
from worker import address, logs
from worker.settings import Settings, forget_celery_variables, load, slot_identity

CHILD_MODULES = ("worker.process",)
"""Named by string: nothing else imports them in a spawned child."""


def connect(settings: Settings, broker_url: str | None = None) -> Celery:
    """The Celery app on the broker of the settings, or on another. Raises UsageError where neither names a Redis."""
    url = broker_url or settings.broker_url
    assert url is not None, "a broker url is needed here; this is a bug"
    forget_celery_variables()
    delivery = Delivery(
        visibility_timeout_s=settings.visibility_timeout_s,
        soft_shutdown_timeout_s=settings.soft_shutdown_timeout_s,
        redis_timeout_s=settings.redis_timeout_s,
        process_start_timeout_s=settings.process_start_timeout_s,
    )
    more = tuple(filter(None, (name.strip() for name in settings.include.split(","))))
    return make_app(address.celery_url(url), delivery, include=(*TASK_MODULES, *CHILD_MODULES, *more))


def serve() -> None:
    """The main function of one worker process, started and pinned by the supervisor: Celery with one spawned child."""
    settings = load()
    identity = slot_identity()
    logs.configure(settings)
    logs.bind_process(slot=identity.slot, device=identity.device)
    # It warns of pickle under root; only JSON is accepted here, and in a container everybody is root to begin with.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    celeryd_after_setup.connect(_after_setup, weak=False)
    app = connect(settings)
    app.set_default()
    app.worker_main(
        [
            "worker",
            f"--queues={EXTRACT_QUEUE}",
            f"--hostname={identity.slot.replace(':', '-')}.{os.getpid()}@{socket.gethostname()}",
            "--concurrency=1",
            "--pool=prefork",
            "--without-mingle",  # a second at each start, to hear of revoked tasks: there are none
        ]
    )


def _after_setup(**_: Any) -> None:
    """What Celery sets up in its own way, set up in ours; nothing can be done about it earlier."""
    # Six lines at each lost connection, about a choice that this app has made.
    warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)
    get_logger().propagate = True  # billiard's own, which otherwise writes past our logging
