"""Steps of a leader and of a worker in this process, by turns."""

from __future__ import annotations

import json
from collections.abc import Callable

from celery import Celery
from integration.open_runs import Run
from integration.worker_resources import deliver

from tasks.keys import QUEUE_LIST
from tasks.lead import Lead, Leader

MakeLeader = Callable[..., Leader]


def work(app: Celery, run: Run, most: int = 100) -> None:
    """Do what is in the queue."""
    for _ in range(most):
        raw = run.client.rpop(QUEUE_LIST)
        if raw is None:
            return
        deliver(app, run, int(json.loads(raw)["headers"]["id"].rpartition(":")[2]))


def lead_until(leader: Leader, run: Run, app: Celery, wanted: Lead) -> None:
    for _ in range(200):
        if leader.step() is wanted:
            return
        work(app, run)
    raise AssertionError(f"never {wanted}")
