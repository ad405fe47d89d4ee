"""What hangs on the app of a worker's child, for tests that are such a child, and what an attempt has left behind."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import redis
from celery import Celery
from integration.open_runs import Run

from pipelines.assembly import Computed
from pipelines.documents import Batch
from pipelines.extract import Extractor, Progress
from pipelines.parts.run_document import RunDocument
from pipelines.parts.store import Store
from tasks.app import resources_of
from tasks.keys import EXTRACT_TASK, run_key
from tasks.write_behind import WriteBehind

Behaviour = Callable[[Batch, Progress], None]


class HookedExtractor:
    """The real extractor; a test may do something before it, or in its place by raising."""

    def __init__(self, extractor: Extractor, before: Behaviour) -> None:
        self._extractor = extractor
        self._before = before

    def compute(self, batch: Batch, on_progress: Progress, **more: Any) -> Computed:
        self._before(batch, on_progress)
        return self._extractor.compute(batch, on_progress, **more)


class LeftError(BaseException):
    """The process would have ended here."""


@dataclass
class WorkerResources:
    """What hangs on the app of a worker's child."""

    client: redis.Redis
    store: Store
    document: RunDocument
    loaded: Extractor
    before: Behaviour = lambda *_: None
    load_error: Exception | None = None
    run_error: Exception | None = None
    owner: str = "w1"
    slot: str = "cpu:0"
    device: str = "cpu"
    lease_s: float = 60.0
    max_attempts: int = 3
    marked: list[tuple[str, int]] = field(default_factory=list)
    taken: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    write_behind: WriteBehind = field(default_factory=WriteBehind)

    def run(self, run: str) -> tuple[Store, RunDocument]:
        if self.run_error is not None:
            raise self.run_error
        assert run == self.document.run
        return self.store, self.document

    def extractor(self, document: RunDocument) -> Any:
        if self.load_error is not None:
            raise self.load_error
        return HookedExtractor(self.loaded, self.before)

    @contextlib.contextmanager
    def working(self, run: str, batch: int) -> Iterator[None]:
        self.marked.append((run, batch))
        yield

    @contextlib.contextmanager
    def taking(self, run: str, batch: int) -> Iterator[Callable[[str, Iterable[int]], None]]:
        yield lambda stage, documents: self.taken.append((stage, tuple(int(index) for index in documents)))

    def leave(self) -> NoReturn:
        raise LeftError


def deliver(app: Celery, run: Run, batch: int = 0) -> None:
    """What Celery calls in the child when a message of this batch has come, and what goes on behind it."""
    app.tasks[EXTRACT_TASK](run.document.run, batch)
    resources_of(app).write_behind.settle()


def attempts(run: Run, batch: int = 0) -> int:
    return int(run.client.hget(run_key(run.document.run, "attempts"), str(batch)) or 0)


def due(run: Run) -> set[int]:
    return {entry.batch for entry in run.ledger.sweep()[1] if entry.due}


def leased(run: Run) -> set[int]:
    now, entries = run.ledger.sweep()
    return {entry.batch for entry in entries if entry.lease_expiry > now}


def parts(run: Run) -> list[str]:
    return run.store.list("data")


def raising(error: BaseException) -> Behaviour:
    def behave(*_: object) -> None:
        raise error

    return behave
