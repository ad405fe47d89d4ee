"""The plan: a chain of segments, one winner of two feeders, damage named."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.documents import CORPUS_START, Batch, Cursor, Document, Origin, items_digest
from pipelines.errors import VerificationError
from pipelines.parts.layout import PLAN_SEALED, segment_name
from pipelines.parts.plan import Plan, PlanEntry, Totals, entry_of
from pipelines.parts.store import Store


def planned(counts: Sequence[int], after: PlanEntry | None = None) -> list[PlanEntry]:
    number, place = (after.batch + 1, after.end) if after else (0, CORPUS_START)
    found = []
    for count in counts:
        end = Cursor(0, place.offset + 10 * count, place.line + count, place.documents + count, 0)
        found.append(PlanEntry(number, place.documents, count, place, end, f"{number:032x}", 10 * count))
        number, place = number + 1, end
    return found


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def sealed(store: Store) -> Store:
    plan = Plan(store)
    entries = planned([3, 3, 3, 3, 2])
    plan.append(entries[:2])
    plan.append(entries[2:4])
    plan.append(entries[4:])
    plan.seal(entries[-1].end)
    return store


def test_what_a_batch_becomes() -> None:
    items = [Document("a", "hé", "p", Origin("/x", 0, 1))]
    end = Cursor(0, 5, 1, 1, 0)
    assert entry_of(Batch(0, 0, items, [], CORPUS_START, end)) == PlanEntry(
        0, 0, 1, CORPUS_START, end, items_digest(items), 4
    )


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(1, 50), min_size=1, max_size=6), max_size=6))
def test_a_plan_reads_back_as_it_was_made(tmp_path_factory: pytest.TempPathFactory, segments: list[list[int]]) -> None:
    store = Store(tmp_path_factory.mktemp("plan"))
    plan, made = Plan(store), list[PlanEntry]()
    for counts in segments:
        part = planned(counts, made[-1] if made else None)
        assert plan.append(part)
        made += part
    end = made[-1].end if made else CORPUS_START
    plan.seal(end)
    again = Plan(store)
    assert list(again.entries()) == made
    assert [again.entry(entry.batch) for entry in made] == made
    assert again.totals() == Totals(len(segments), len(made), end.documents, 0)
    assert again.tail()[:2] == (len(made), end)
    with pytest.raises(KeyError):
        again.entry(len(made))


def test_the_slower_of_two_feeders_reads_what_the_faster_wrote(store: Store) -> None:
    fast, slow = Plan(store), Plan(store)
    assert slow.tail().batch == fast.tail().batch == 0
    assert fast.append(planned([5, 5]))
    assert not slow.append(planned([5]))
    assert slow.tail().batch == 2
    assert slow.append(planned([4], after=planned([5, 5])[-1]))
    assert [entry.count for entry in fast.entries()] == [5, 5, 4]


def test_racing_feeders_make_one_chain(store: Store) -> None:
    entries = planned([1] * 40)
    barrier = threading.Barrier(4)
    wins = []

    def feed() -> None:
        plan = Plan(store)
        barrier.wait()
        while (number := plan.tail().batch) < len(entries):
            wins.append(plan.append(entries[number : number + 2]))
        plan.seal(entries[-1].end)

    threads = [threading.Thread(target=feed) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(Plan(store).entries()) == entries
    assert sum(wins) == 20
    assert Plan(store).totals() == Totals(20, 40, 40, 0)


def test_nothing_is_added_to_a_sealed_plan(sealed: Store) -> None:
    last = list(Plan(sealed).entries())[-1]
    assert not Plan(sealed).append(planned([3], after=last))


def test_blank_lines_after_the_last_document_count(store: Store) -> None:
    plan = Plan(store)
    plan.append(planned([2]))
    assert plan.seal(Cursor(1, 0, 0, 2, 7)).blank_lines == 7


def test_sealing_twice_is_one_seal_and_differently_is_an_error(sealed: Store) -> None:
    end = Plan(sealed).tail().end
    assert Plan(sealed).seal(end) == Plan(sealed).totals()
    with pytest.raises(VerificationError, match="SEALED"):
        Plan(sealed).seal(end._replace(blank_lines=9))


def test_batches_that_do_not_follow_each_other_are_a_bug(store: Store) -> None:
    first, second = planned([2, 2])
    with pytest.raises(ValueError, match="does not follow"):
        Plan(store).append([second, first])


@pytest.mark.parametrize("segment", [0, 1, 2])
def test_a_missing_segment_is_named(sealed: Store, segment: int) -> None:
    sealed.remove(segment_name(segment))
    with pytest.raises(VerificationError, match=r"SEALED|seg-0000000\d"):
        list(Plan(sealed).entries())


def test_a_hole_is_named(sealed: Store) -> None:
    sealed.remove(segment_name(1))
    with pytest.raises(VerificationError, match=r"seg-00000001\.json: it is missing"):
        Plan(sealed).tail()


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "count": lambda value: value["batches"][-1].update(count=value["batches"][-1]["count"] + 1),
    "first": lambda value: value["batches"][0].update(first=99),
    "digest": lambda value: value["batches"][0].update(input_digest="0" * 32),
    "link": lambda value: value.update(prev="0" * 64),
    "empty": lambda value: value.update(batches=[]),
    "number": lambda value: value.update(segment=7),
    "nothing": lambda value: value.clear(),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("segment", [0, 1, 2])
def test_every_change_is_found(sealed: Store, segment: int, change: str) -> None:
    name = segment_name(segment)
    value = json.loads(sealed.read(name))
    CHANGES[change](value)
    sealed.replace(name, json.dumps(value).encode())
    with pytest.raises(VerificationError, match=r"seg-|SEALED"):
        list(Plan(sealed).entries())


def test_a_changed_last_segment_is_named_and_not_the_seal(sealed: Store) -> None:
    name = segment_name(2)
    sealed.replace(name, sealed.read(name).replace(b'"text_bytes": ', b'"text_bytes": 1'))
    with pytest.raises(VerificationError, match=rf"{name}: it is not the one that the plan was sealed with"):
        Plan(sealed).totals()


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"segments": 99, "batches": 99999999999999}'])
def test_a_damaged_seal_is_named(sealed: Store, content: bytes) -> None:
    sealed.replace(PLAN_SEALED, content)
    with pytest.raises(VerificationError, match="SEALED"):
        Plan(sealed).totals()
