"""The two processes of the protocol, made of the product's own code: who leads a run, and who works on its batches.

Each is a body for an :class:`Actor`; what a session or a supervisor wraps around a leader or a task is done here.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, NoReturn

import kombu.exceptions
import numpy as np
import pyarrow as pa
import redis
from celery import Celery
from model.corpora import Corpus, schema_of
from model.stage import SteppedRedis, actor

from pipelines.documents import Batch, Document, Reason, Reject, input_digest
from pipelines.errors import InfrastructureError, RunError
from pipelines.parts.limit import Limit
from pipelines.parts.run_document import RunDocument
from pipelines.parts.store import Store
from pipelines.suspicion import NO_SUSPICION, Suspicion
from pipelines.work import Work
from tasks.deaths import Deaths
from tasks.feed import Window
from tasks.keys import EXTRACT_TASK, QUEUE_LIST, UNACKED_HASH
from tasks.lead import Lead, Leader, LostLeadError
from tasks.ledger import Ledger

ALL = Limit.parse("100%")
MICRO_BATCH = 2


class ChildDiedError(BaseException):
    """The worker's child ended here; Celery's parent lives on."""


class _AtOnce:
    """An executor that has no thread of its own: the leader's seal is done in the leader's steps."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future

    def shutdown(self) -> None:
        pass


@dataclass
class Hands:
    """What a worker's child finds on its app."""

    client: SteppedRedis
    store: Store
    document: RunDocument
    poison: frozenset[str]
    owner: str
    batch: int
    slot: str = "cpu:0"
    device: str = "cpu"
    lease_s: float = 60.0
    max_attempts: int = 5
    crumb: tuple[int, ...] = ()
    finished: bool = False
    child_is_alive: bool = True
    tag: str = ""
    is_acknowledged: bool = False

    @property
    def write_behind(self) -> Any:
        return self

    def hand_over(self, finish: Callable[[], None]) -> None:
        """The task is over, and its message acknowledged, before what is left of the batch goes on."""
        self.acknowledge()
        finish()

    def acknowledge(self) -> None:
        self.is_acknowledged = True
        with contextlib.suppress(redis.RedisError):
            self.client.hdel(UNACKED_HASH, self.tag)

    def run(self, run: str) -> tuple[Store, RunDocument]:
        return self.store, self.document

    def extractor(self, document: RunDocument) -> Any:
        return _Extractor(self)

    @contextlib.contextmanager
    def working(self, run: str, batch: int) -> Iterator[None]:
        yield

    @contextlib.contextmanager
    def taking(self, run: str, batch: int) -> Iterator[Callable[[str, Iterable[int]], None]]:
        try:
            yield self._drop
        except Exception:
            self.crumb = ()
            raise
        self.crumb = ()

    def _drop(self, stage: str, documents: Iterable[int]) -> None:
        self.crumb = tuple(int(index) for index in documents)

    def leave(self) -> NoReturn:
        raise ChildDiedError

    def compute(self, documents: list[Document]) -> None:
        """The forward pass: poison ends the process."""
        who = actor()
        assert who is not None
        who.step(f"forward {[document.id for document in documents]}")
        if any(document.id in self.poison for document in documents):
            who.doom = ChildDiedError
            raise ChildDiedError
        self.finished = True


@dataclass
class _Extracted:
    table: pa.Table
    rejects: list[Reject]
    warnings: list[Reject] = field(default_factory=list)
    tokens: int = 0
    tokens_used: int = 0
    truncated: int = 0
    repeated: int = 0

    def assemble(self) -> _Extracted:
        return self


@dataclass
class _Extractor:
    """Takes documents in hand as the real one does, and computes nothing."""

    hands: Hands

    def compute(
        self,
        batch: Batch,
        on_progress: Callable[[int, int], None],
        *,
        on_taking: Any,
        suspicion: Suspicion = NO_SUSPICION,
    ) -> _Extracted:
        work = Work(batch.documents, on_taking, suspicion)
        for alive in work.groups():
            for start in range(0, len(alive), MICRO_BATCH):
                part = alive[start : start + MICRO_BATCH]
                on_taking("forward", part)
                self.hands.compute([work.documents[index] for index in part])
                on_progress(len(part), len(part))
        on_taking("", ())
        rows = [work.documents[index] for index in work.alive()]
        numbers = iter(range(len(work.documents)))
        found = (item if isinstance(item, Reject) else work.rejected.get(next(numbers)) for item in batch.items)
        schema = schema_of(self.hands.document.spec)
        ones = pa.array(np.ones(len(rows), np.int32))
        vectors = pa.FixedSizeListArray.from_arrays(
            pa.array(np.ones(2 * len(rows), np.float32)), type=schema.field(1).type
        )
        digests = pa.array([input_digest(row.text, row.pair) for row in rows], pa.binary(16))
        columns = [pa.array([row.id for row in rows], pa.string()), vectors, ones, ones, digests]
        return _Extracted(
            pa.Table.from_arrays(columns, schema=schema), [reject for reject in found if reject is not None]
        )


class _ActorsHands:
    """``app.penstock``: each process sees its own."""

    def __getattr__(self, name: str) -> Any:
        who = actor()
        assert who is not None
        return getattr(who.hands, name)


def message(run: str, batch: int) -> str:
    """A message as Celery would send it, as far as anybody reads it."""
    return json.dumps({"headers": {"id": f"{run}:{batch}"}})


def make_app(client: SteppedRedis) -> Celery:
    """The product's app, but messages go straight into the list that Celery would put them into."""
    from tasks import app as real

    app = real.make_app("redis://nowhere.invalid")
    app.penstock = _ActorsHands()

    def send_task(name: str, *, args: tuple[str, int], queue: str, task_id: str, ignore_result: bool) -> None:
        assert (name, queue, task_id) == (EXTRACT_TASK, QUEUE_LIST.removeprefix("penstock:"), f"{args[0]}:{args[1]}")
        try:
            client.lpush(QUEUE_LIST, message(*args))
        except redis.RedisError as error:
            raise kombu.exceptions.OperationalError from error

    app.send_task = send_task
    return app


def work(app: Celery, hands: Hands, tag: str) -> None:
    """A worker takes one message: the child does the task; where it dies, its parent does what follows from that."""
    who = actor()
    assert who is not None
    who.hands, hands.tag = hands, tag
    run = hands.document.run
    try:
        app.tasks[EXTRACT_TASK](run, hands.batch)
    except ChildDiedError:
        who.doom, hands.child_is_alive = None, False
        ledger = Ledger(hands.client, run)
        with contextlib.suppress(InfrastructureError):
            if hands.is_acknowledged:
                pass  # behind its task: nobody is told, the lease runs out
            elif hands.crumb:
                deaths, barren = Deaths(ledger, hands.store), not hands.finished
                deaths.record(hands.batch, hands.owner, hands.crumb, Reason.CRASH, "It died.", barren=barren)
            else:
                ledger.abandon(hands.owner, uncount=False)
    hands.child_is_alive = False
    if not hands.is_acknowledged:
        hands.acknowledge()


def lead(app: Celery, client: SteppedRedis, store: Store, corpus: Corpus, owner: str, *, steward: bool) -> None:
    """Lead the run until it is sealed, incomplete, stopped or somebody else's: as a session does, or a steward."""
    leader = Leader(app, client, store, corpus.document, Window(batches=3), owner=owner, plan=not steward)
    leader._sealer = _AtOnce()  # type: ignore[assignment]  # replaced on purpose
    who = actor()
    assert who is not None
    begun = False
    while True:
        try:
            if not begun and not leader.take(by_force=not steward):
                return
            if not begun and not steward:
                leader.ledger.open(str(store.root))
            begun = True
            step = leader.step()
            if step is Lead.COMPLETE and leader.seal(ALL) is not None:
                leader.resign()
                return
        except InfrastructureError:
            step = Lead.WAITING
        except LostLeadError:
            return
        except RunError as error:
            if type(error) is not RunError:
                raise
            return  # paused: whoever resumes the run leads it anew
        if step is not Lead.WORKING:
            who.rest()
            who.step("a pause")
