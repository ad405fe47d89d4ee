"""The feeder on a real Redis, with nobody at work: what is planned, what is in flight, and how it starts over."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from integration.open_runs import MakeSpec, Run

from pipelines.errors import InfrastructureError
from pipelines.parts.store import Store
from tasks import feed, flight
from tasks.feed import Feeder, Step, Window
from tasks.flight import Publisher
from tasks.keys import QUEUE_LIST
from tasks.transport import decode

WIDE = Window(batches=64)


def feeder_of(run: Run, window: Window = WIDE, *, plan: bool = True) -> Feeder:
    return Feeder(run.planner(), run.ledger, run.publisher, window, plan=plan)


def drive(feeder: Feeder) -> Step:
    """Step until nothing is published any more."""
    while (step := feeder.step()) is Step.PUBLISHED:
        pass
    return step


def messages(client: redis.Redis) -> list[int]:
    """The batches in the queue, oldest first."""
    entries = reversed(client.lrange(QUEUE_LIST, 0, -1))
    return [int(json.loads(entry)["headers"]["id"].rpartition(":")[2]) for entry in entries]


def close(run: Run, *batches: int) -> None:
    """As if a worker had committed them, as far as Redis can tell."""
    for batch in batches:
        run.ledger.close(batch, documents=30, rows=30, quarantined=0, tokens=0)
        run.bodies.drop(batch)


def test_a_corpus_is_planned_and_published_once_in_order(run: Run) -> None:
    feeder = feeder_of(run)
    assert drive(feeder) is Step.DONE
    assert feeder.step() is Step.DONE
    assert run.planned() == run.in_flight() == messages(run.client) == list(range(10))
    totals = run.planner().plan.totals()
    assert totals is not None
    assert totals.documents == feeder.documents_planned == 300
    read = [item.id for batch in range(10) for item in decode(run.bodies.get(batch) or b"", ()).items]
    assert read == [f"doc-{number}" for number in range(300)]


def test_the_plan_comes_before_any_message(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    publish = Publisher.publish
    seen = []

    def watched(self: Publisher, batch: Any) -> None:
        assert batch.number in run.planned()
        seen.append(batch.number)
        publish(self, batch)

    monkeypatch.setattr(Publisher, "publish", watched)
    drive(feeder_of(run, Window(batches=3)))
    assert seen == [0, 1, 2]


def test_feeding_stops_at_the_window_and_goes_on_below_half_of_it(run: Run) -> None:
    feeder = feeder_of(run, Window(batches=6))
    assert drive(feeder) is Step.BLOCKED
    assert run.in_flight() == [0, 1, 2, 3, 4, 5]
    close(run, 0, 1)
    assert feeder.step() is Step.BLOCKED
    assert messages(run.client) == [0, 1, 2, 3, 4, 5]
    close(run, 2)
    assert drive(feeder) is Step.BLOCKED
    assert run.in_flight() == [3, 4, 5, 6, 7, 8]
    close(run, *range(9))
    assert drive(feeder) is Step.DONE
    assert run.in_flight() == [9]
    assert run.planned() == messages(run.client) == list(range(10))


def test_the_plan_does_not_run_ahead_of_the_window(run: Run) -> None:
    drive(feeder_of(run, Window(batches=4)))
    assert run.planned() == [0, 1, 2, 3]
    assert run.planner().plan.totals() is None


@pytest.mark.parametrize("planned", [False, True])
def test_the_window_counts_the_bytes_of_bodies(run: Run, planned: bool) -> None:
    """Fresh batches and those of the backlog alike."""
    if planned:
        run.plan()
    run.publish(0) if planned else drive(feeder_of(run, Window(batches=1)))
    body = run.ledger.window()[1]
    limit = int(body * 3.5)
    feeder = feeder_of(run, Window(batches=64, body_bytes=limit))
    assert drive(feeder) is Step.BLOCKED
    batches, size = run.ledger.window()
    assert limit <= size < limit + 2 * body
    assert 3 < batches < 7
    close(run, 0)
    assert limit / 2 < run.ledger.window()[1] < limit
    assert feeder.step() is Step.BLOCKED
    close(run, *range(batches))
    assert drive(feeder) is Step.BLOCKED
    assert 0 < run.ledger.window()[1] < limit + 2 * body


def test_a_batch_larger_than_the_window_is_published_alone(run: Run) -> None:
    feeder = feeder_of(run, Window(batches=64, body_bytes=1))
    for number in range(10):
        assert drive(feeder) is Step.BLOCKED
        assert run.in_flight() == [number]
        close(run, number)
    assert drive(feeder) is Step.DONE


def test_feeding_waits_while_redis_is_filling_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "MEMORY_CHECK_INTERVAL_S", 0.0)
    feeder = feeder_of(run, Window(memory_fraction=1e-9))
    assert feeder.step() is Step.BLOCKED
    assert messages(run.client) == []
    assert drive(feeder_of(run, Window(memory_fraction=1.0))) is Step.DONE


def test_committed_batches_and_dead_letters_are_not_published(run: Run, commit: Callable[..., None]) -> None:
    run.plan()
    commit(run, 0, 3, 4)
    run.ledger.bury(5, "why")
    assert drive(feeder_of(run)) is Step.DONE
    assert run.in_flight() == messages(run.client) == [1, 2, 6, 7, 8, 9]


def test_who_may_not_plan_publishes_only_what_is_planned(run: Run) -> None:
    planner = run.planner()
    planner.record(list(itertools.islice(planner.fresh(), 3)))
    assert drive(feeder_of(run, plan=False)) is Step.DONE
    assert run.planned() == run.in_flight() == [0, 1, 2]


def drain(run: Run, feeder: Feeder) -> None:
    """Feed to the end, with workers that keep up."""
    while drive(feeder) is Step.BLOCKED:
        close(run, *run.in_flight())


class KilledError(BaseException):
    """The process is gone: nothing after this line happens."""


@pytest.fixture
def killed_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any, str, int], None]]:
    """``killed_at(owner, name, n)``: the n-th call of a function from now on is the feeder's last."""

    def arm(owner: Any, name: str, calls: int) -> None:
        original, count = getattr(owner, name), itertools.count(1)

        def dying(*arguments: Any, **options: Any) -> Any:
            if next(count) == calls:
                raise KilledError
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, dying)

    yield arm
    monkeypatch.undo()


POINTS = [
    (Store, "put_if_absent", 1),  # before the first segment
    (Store, "put_if_absent", 2),  # between two segments
    (Publisher, "publish", 1),  # planned, nothing published
    (Publisher, "publish", 5),
    (Publisher, "_announce", 3),  # the body is there, no message
    (feed.Ledger, "publish", 4),
    (flight, "send_batch", 1),  # in the ledger, no message
    (flight, "send_batch", 6),
    (feed.Planner, "seal", 1),
]


@pytest.mark.parametrize(("owner", "name", "calls"), POINTS)
@pytest.mark.parametrize("emptied", [False, True])
def test_after_a_kill_at_any_point_everything_is_planned_and_in_flight(
    run: Run,
    killed_at: Callable[[Any, str, int], None],
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    calls: int,
    emptied: bool,
) -> None:
    window = Window(batches=4)
    killed_at(owner, name, calls)
    feeder = feeder_of(run, window)
    with pytest.raises(KilledError):
        drain(run, feeder)
    monkeypatch.undo()
    if emptied:
        run.client.flushall()
        run.ledger.open(str(run.store.root))

    assert drive(feeder_of(run)) is Step.DONE
    assert run.planned() == list(range(10))
    assert run.in_flight() == list(range(10))  # nothing was committed
    assert all(run.bodies.size(batch) for batch in range(10))
    missing = set(range(10)) - set(messages(run.client))
    assert len(missing) <= (name == "send_batch" and not emptied)  # what the ledger has, the reconciler will miss


def test_what_a_fault_of_redis_kept_back_is_published_after_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planned batches whose publication failed must not wait for the end of the run."""
    publish, calls = Publisher.publish, itertools.count()

    def failing(self: Publisher, batch: Any) -> None:
        if next(calls) in (2, 5):
            raise InfrastructureError("Redis is away.")
        publish(self, batch)

    monkeypatch.setattr(Publisher, "publish", failing)
    feeder = feeder_of(run)
    for _ in range(2):
        with pytest.raises(InfrastructureError):
            drive(feeder)
    assert drive(feeder) is Step.DONE
    assert run.in_flight() == list(range(10))


def test_a_full_disk_under_the_plan_costs_nothing_but_time(run: Run) -> None:
    (run.store.root / "_plan").write_text("no folder")
    feeder = feeder_of(run)
    for _ in range(3):
        with pytest.raises(InfrastructureError):
            drive(feeder)
    assert messages(run.client) == []
    (run.store.root / "_plan").unlink()
    assert drive(feeder) is Step.DONE
    assert run.planned() == run.in_flight() == list(range(10))


def test_a_fault_at_the_very_end_of_the_corpus_is_no_bug(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    append, calls = feed.Planner.record, itertools.count()

    def failing(self: Any, planned: Any) -> bool:
        if next(calls) == 0:
            raise InfrastructureError("No space left on device.")
        return append(self, planned)

    monkeypatch.setattr(feed.Planner, "record", failing)
    feeder = feeder_of(run)
    with pytest.raises(InfrastructureError):
        drive(feeder)
    assert drive(feeder) is Step.DONE
    assert run.planned() == run.in_flight() == list(range(10))


def test_two_feeders_race_and_the_plan_has_everything_once(run: Run) -> None:
    feeders = [feeder_of(run, Window(batches=4)), feeder_of(run, Window(batches=4))]
    for turn in itertools.cycle(feeders):
        turn.step()
        close(run, *run.in_flight()[:1])
        if all(feeder.step() is Step.DONE for feeder in feeders) and not run.in_flight():
            break
    assert run.planned() == list(range(10))
    assert set(messages(run.client)) == set(range(10))
    totals = run.planner().plan.totals()
    assert totals is not None
    assert totals.documents == 300


def test_after_redis_was_emptied_the_feeder_starts_over(run: Run, commit: Callable[..., None]) -> None:
    feeder = feeder_of(run)
    drive(feeder)
    commit(run, 2, 7)
    run.client.flushall()
    run.ledger.open(str(run.store.root))
    assert feeder.step() is Step.DONE
    feeder.restart()
    assert drive(feeder) is Step.DONE
    assert run.in_flight() == messages(run.client) == [0, 1, 3, 4, 5, 6, 8, 9]


def test_an_empty_corpus_is_planned_as_such(run: Run, spec_of: MakeSpec) -> None:
    corpus = run.store.root.parent / "empty.jsonl"
    corpus.touch()
    planner = type(run.planner())(Store(corpus.parent), spec_of(corpus))
    feeder = Feeder(planner, run.ledger, run.publisher, WIDE, plan=True)
    assert drive(feeder) is Step.DONE
    assert planner.plan.totals() is not None
    assert [entry.count for entry in planner.plan.entries()] == [0]
    assert decode(run.bodies.get(0) or b"", ()).items == []
