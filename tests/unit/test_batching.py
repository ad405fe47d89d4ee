"""Batches depend on the items alone, wherever reading began; micro-batches hold every document once, in budget."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.batching import batches, item_text_bytes, micro_batches
from pipelines.documents import CORPUS_START, Batch, Cursor, Document, Origin, Reason, Reject, Stage

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@st.composite
def corpora(draw: st.DrawFn) -> list[tuple[Document | Reject, bool]]:
    """Items, each with whether it comes with a warning."""
    items: list[tuple[Document | Reject, bool]] = []
    for number in range(draw(st.integers(0, 40))):
        origin = Origin("/c.jsonl", number * 10, number + 1)
        if draw(st.integers(0, 4)) == 0:
            items.append((Reject(str(number), origin, Stage.READ, Reason.BAD_JSON, "no JSON"), False))
        else:
            pair = draw(st.none() | texts)
            items.append((Document(str(number), draw(texts), pair, origin), draw(st.booleans())))
    return items


class ListReader:
    """A corpus in memory, readable on from any cursor."""

    def __init__(self, items: list[tuple[Document | Reject, bool]], start: Cursor = CORPUS_START) -> None:
        self._items = items
        self._warnings: list[Reject] = []
        self.cursor = start

    def __iter__(self) -> Iterator[Document | Reject]:
        for number in range(self.cursor.documents, len(self._items)):
            item, warned = self._items[number]
            if warned:
                self._warnings.append(Reject(item.id, item.origin, Stage.WARNING, Reason.KEPT_VALUE, "no number"))
            self.cursor = Cursor(0, (number + 1) * 10, number + 1, number + 1, 0)
            yield item

    def take_warnings(self) -> list[Reject]:
        taken, self._warnings = self._warnings, []
        return taken


limits = st.tuples(st.integers(1, 12), st.integers(1, 300))


def text_bytes(batch: Batch) -> int:
    return sum(item_text_bytes(item) for item in batch.items)


@given(corpora(), limits)
@settings(deadline=None)
def test_batches_hold_the_corpus_in_order_within_both_limits(
    corpus: list[tuple[Document | Reject, bool]], limit: tuple[int, int]
) -> None:
    cut = list(batches(ListReader(corpus), max_documents=limit[0], max_text_bytes=limit[1]))
    assert [item for batch in cut for item in batch.items] == [item for item, _ in corpus]
    assert [batch.number for batch in cut] == list(range(len(cut)))
    place, first = CORPUS_START, 0
    for batch in cut:
        assert batch.items
        assert (batch.start, batch.first) == (place, first)
        assert len(batch.items) <= limit[0]
        assert text_bytes(batch) <= limit[1] or len(batch.items) == 1
        place, first = batch.end, first + len(batch.items)
        assert place.documents == first


@given(corpora(), limits)
@settings(deadline=None)
def test_no_batch_could_have_taken_the_next_item(
    corpus: list[tuple[Document | Reject, bool]], limit: tuple[int, int]
) -> None:
    cut = list(batches(ListReader(corpus), max_documents=limit[0], max_text_bytes=limit[1]))
    for batch, after in itertools.pairwise(cut):
        full = len(batch.items) == limit[0]
        assert full or text_bytes(batch) + item_text_bytes(after.items[0]) > limit[1]


@given(corpora(), limits)
@settings(deadline=None)
def test_warnings_stay_with_their_item(corpus: list[tuple[Document | Reject, bool]], limit: tuple[int, int]) -> None:
    cut = list(batches(ListReader(corpus), max_documents=limit[0], max_text_bytes=limit[1]))
    warned = {item.id for item, warned in corpus if warned}
    for batch in cut:
        assert [warning.id for warning in batch.warnings] == [item.id for item in batch.items if item.id in warned]


@given(corpora(), limits, st.data())
@settings(deadline=None)
def test_reading_on_from_any_batch_gives_the_same_batches(
    corpus: list[tuple[Document | Reject, bool]], limit: tuple[int, int], data: st.DataObject
) -> None:
    cut = list(batches(ListReader(corpus), max_documents=limit[0], max_text_bytes=limit[1]))
    done = data.draw(st.integers(0, len(cut)))
    start = cut[done - 1].end if done else CORPUS_START
    rest = batches(ListReader(corpus, start), number=done, max_documents=limit[0], max_text_bytes=limit[1])
    assert list(rest) == cut[done:]


def test_an_empty_corpus_has_no_batch() -> None:
    assert list(batches(ListReader([]), max_documents=5)) == []


@pytest.mark.parametrize(
    ("text", "pair", "size"), [("abc", None, 3), ("aé€😀", None, 10), ("a", "é", 3), ("a", "", 1), ("\ud800", None, 3)]
)
def test_text_is_weighed_in_utf8_bytes(text: str, pair: str | None, size: int) -> None:
    assert item_text_bytes(Document("1", text, pair, Origin("/c", 0, 1))) == size


costs_of_documents = st.lists(st.floats(0, 600), max_size=80)


@given(costs_of_documents, st.integers(1, 1200), st.integers(1, 9))
@settings(deadline=None)
def test_micro_batches_hold_every_document_once_within_the_budget(
    costs: list[float], budget: int, streams: int
) -> None:
    groups = micro_batches(costs, budget, streams)
    assert sorted(index for group in groups for index in group) == list(range(len(costs)))
    for group in groups:
        assert len(group) > 0
        assert sum(costs[index] for index in group) <= budget or len(group) == 1


@given(costs_of_documents, st.integers(1, 1200), st.integers(1, 9))
@settings(deadline=None)
def test_micro_batches_go_from_long_to_short_and_keep_the_order_of_equals(
    costs: list[float], budget: int, streams: int
) -> None:
    order = [int(index) for group in micro_batches(np.array(costs), budget, streams) for index in group]
    assert order == sorted(range(len(costs)), key=lambda index: (-costs[index], index))


@given(costs_of_documents, st.integers(1, 1200))
@settings(deadline=None)
def test_no_micro_batch_could_have_taken_the_next_document(costs: list[float], budget: int) -> None:
    groups = micro_batches(costs, budget)
    for group, after in itertools.pairwise(groups):
        assert sum(costs[index] for index in group) + costs[after[0]] > budget


@given(st.lists(st.floats(1, 100), min_size=200, max_size=400), st.integers(500, 3000), st.integers(2, 9))
@settings(deadline=None)
def test_streams_get_as_much_to_do_as_each_other(costs: list[float], budget: int, streams: int) -> None:
    sums = [sum(costs[index] for index in group) for group in micro_batches(costs, budget, streams)]
    assert len(sums) >= streams
    if max(sums) <= budget - 100:  # the budget cut none of them short
        assert len(sums) % streams == 0
        assert max(sums) - min(sums) <= 200, "each border is at most half a document from where it should be"


def test_a_few_documents_go_to_a_stream_each() -> None:
    assert [group.tolist() for group in micro_batches([5, 5, 5], 1000, 4)] == [[0], [1], [2]]
    assert [group.tolist() for group in micro_batches([10, 30, 20], 1000, 2)] == [[1], [2, 0]]


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="token_budget is 0"):
        micro_batches([1], 0)
