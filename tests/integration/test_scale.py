"""What must not grow with the plan, by counting and not by the clock: Redis, the feeder's memory, a sweep, the seal."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from celery import Celery
from integration.open_runs import Run
from unit.made_runs import DOCUMENT, SPEC, entries, make

from pipelines.corpus import CorpusOptions, discover
from pipelines.parts.layout import part_name
from pipelines.parts.manifest import seal
from pipelines.parts.plan import Plan
from pipelines.parts.run_document import RunDocument, put_if_absent
from pipelines.parts.store import Store
from tasks.feed import Feeder, Step, Window
from tasks.keys import QUEUE_LIST
from tasks.reconcile import Reconciler
from tasks.runs import status

WINDOW = 32
ROUNDS = 10
"""A window is fed in each: the first rounds are compared with the last."""


@pytest.fixture
def long_run(app: Celery, client: redis.Redis, tmp_path: Path) -> Run:
    """A run of more batches than are fed, each of one document."""
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text(
        "".join(json.dumps({"id": f"{n:05d}", "text": f"text {n:05d}"}) + "\n" for n in range(WINDOW * ROUNDS + 1))
    )
    spec = replace(SPEC, corpus=discover([str(corpus)], CorpusOptions()), batch_documents=1)
    return opened(app, client, tmp_path / "out", replace(DOCUMENT, spec=spec, fingerprint=spec.fingerprint()))


def opened(app: Celery, client: redis.Redis, out: Path, document: RunDocument) -> Run:
    store = Store(out)
    assert put_if_absent(store, document)
    run = Run(app, client, store, document)
    run.ledger.open(str(out))
    return run


def fill(feeder: Feeder) -> None:
    while feeder.step() is Step.PUBLISHED:
        pass


def commit(run: Run) -> None:
    """As if workers had done all that is in flight; a file of the part's name is the commit, whatever is in it."""
    (run.store.root / "data").mkdir(exist_ok=True)
    for batch in run.in_flight():
        (run.store.root / part_name(batch)).touch()
        run.ledger.claim(batch, owner="me", delivery=f"{batch}", lease_s=60, max_attempts=3)
        run.ledger.close(batch, documents=1, rows=1, quarantined=0, tokens=1)
        run.bodies.drop(batch)
    run.client.delete(QUEUE_LIST)


def redis_bytes(client: redis.Redis) -> dict[str, int]:
    """What each key takes, bodies together; other than the server's own figure it has no buffers in it."""
    sizes: dict[str, int] = {}
    for key in client.scan_iter():
        name = key.decode().partition(":body:")[0]
        sizes[name] = sizes.get(name, 0) + (client.memory_usage(key, samples=0) or 0)
    return sizes


def test_redis_and_the_sweep_see_the_window_and_not_the_plan(long_run: Run) -> None:
    run = long_run
    feeder = Feeder(run.planner(), run.ledger, run.publisher, Window(batches=WINDOW), plan=True)
    reconciler = Reconciler(run.store, feeder.planner, run.ledger, run.publisher)
    sizes, commands = [], []
    for _ in range(ROUNDS):
        fill(feeder)
        there = run.client.info("stats")["total_commands_processed"]
        reconciler.sweep()
        commands.append(run.client.info("stats")["total_commands_processed"] - there)
        assert len(run.in_flight()) == WINDOW
        sizes.append(redis_bytes(run.client))
        commit(run)
    for name, size in sizes[-1].items():
        assert size <= 1.1 * sizes[1][name] + 100, name
    assert sum(sizes[-1].values()) < 3000 * WINDOW
    assert max(commands) == min(commands) <= 4 * WINDOW + 10  # those of the script are counted too
    assert sum(redis_bytes(run.client).values()) < 5000


def peak_of(action: Callable[[], object]) -> int:
    """Bytes that Python holds at most while it does something, beyond those before."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_reading_a_plan_takes_the_memory_of_a_segment(app: Celery, client: redis.Redis, tmp_path: Path) -> None:
    peaks: list[dict[str, int]] = []
    for batches in (64, 512, 2048):  # the first takes upon it what is loaded at first use
        run = opened(app, client, tmp_path / f"{batches}", replace(DOCUMENT, run=f"run-{batches}"))
        made_up(run.store, batches)
        actions: dict[str, Callable[[], object]] = {
            "feed": lambda run=run: fill(Feeder(run.planner(), run.ledger, run.publisher, Window(), plan=False)),
            "resume": lambda run=run: sum(1 for _ in run.planner().backlog()) + run.planner().plan.tail().batch,
            "look up": lambda run=run, last=batches - 1: run.planner().plan.entry(last),
            "status": lambda run=run: status(run.store, run.document, client),
        }
        peaks.append({name: peak_of(action) for name, action in actions.items()})
        assert run.in_flight() == []
    _, few, many = peaks
    for name in few:
        assert many[name] < 1.5 * few[name] + 20_000, (name, peaks)


def made_up(store: Store, batches: int) -> None:
    """A sealed plan of so many batches, with a file of each part's name."""
    plan, planned = Plan(store), entries([3] * batches)
    for first in range(0, batches, 64):
        assert plan.append(planned[first : first + 64])
    plan.seal(planned[-1].end)
    (store.root / "data").mkdir()
    for entry in planned:
        (store.root / part_name(entry.batch)).touch()


def test_the_seal_takes_few_bytes_for_each_part(tmp_path: Path) -> None:
    peaks = []
    for parts in (2, 20, 70):
        store = make(tmp_path / f"{parts}", [2] * parts)
        peaks.append(peak_of(lambda store=store: seal(store, DOCUMENT)))
    assert (peaks[2] - peaks[1]) / 50 < 500, peaks
