"""An opened run and all that stands around it in Redis, for tests to hold in their hands."""

from __future__ import annotations

from collections.abc import Callable

import redis
from celery import Celery

from pipelines.parts.run_document import RunDocument
from pipelines.parts.store import Store
from pipelines.planning import Planner
from pipelines.spec import RunSpec
from tasks.flight import Publisher
from tasks.ledger import Ledger
from tasks.transport import Bodies

MakeSpec = Callable[..., RunSpec]


class Run:
    """An opened run of ten batches and all that stands around it, each made anew where a process would be."""

    def __init__(self, app: Celery, client: redis.Redis, store: Store, document: RunDocument) -> None:
        self.app = app
        self.client = client
        self.store = store
        self.document = document
        self.ledger = Ledger(client, document.run)
        self.bodies = Bodies(client, document.run)
        self.publisher = Publisher(app, self.ledger, self.bodies, document.spec.corpus.keep, document.transport)

    def planner(self) -> Planner:
        return Planner(self.store, self.document.spec)

    def plan(self) -> None:
        """Put the whole corpus into the plan, without publishing anything."""
        planner = self.planner()
        for batch in planner.fresh():
            assert planner.record([batch])
        planner.seal()

    def publish(self, *batches: int) -> None:
        """Put planned batches in flight."""
        planner = self.planner()
        for batch in batches:
            self.publisher.publish(planner.read(planner.plan.entry(batch)))
        planner.close()

    def planned(self) -> list[int]:
        return [entry.batch for entry in self.planner().plan.entries()]

    def in_flight(self) -> list[int]:
        return sorted(entry.batch for entry in self.ledger.sweep()[1])
