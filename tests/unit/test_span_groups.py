"""Tokens to spans, by hand: what begins one, what goes on with it, and what words make of it."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.features.span_groups import (
    Spans,
    Tags,
    continuing,
    each_token,
    span_groups,
    words_by_mean,
    words_by_one,
)
from pipelines.readings.trimmed_places import is_blank, trimmed
from pipelines.spec import Aggregation

LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def groups(labels: list[str], known: tuple[str, ...] = LABELS) -> list[tuple[str, int, int]]:
    """Kind, first and last token of each span."""
    tags = Tags.of(known)
    classes = np.array([known.index(label) for label in labels], np.int64)
    found = span_groups(tags, each_token(classes, np.full(len(labels), 0.5, np.float32)))
    return [
        (tags.names[kind], first, last)
        for kind, first, last in zip(found.classes.tolist(), found.first.tolist(), found.last.tolist(), strict=True)
    ]


def test_a_b_begins_a_span_and_an_i_goes_on_with_one() -> None:
    assert groups(["B-PER", "I-PER", "O", "B-PER", "B-PER", "I-LOC"]) == [
        ("PER", 0, 1),
        ("O", 2, 2),
        ("PER", 3, 3),
        ("PER", 4, 4),
        ("LOC", 5, 5),
    ]


def test_an_i_without_a_b_begins_a_span_too() -> None:
    assert groups(["O", "I-PER", "I-PER", "I-LOC"]) == [("O", 0, 0), ("PER", 1, 2), ("LOC", 3, 3)]


def test_labels_without_a_prefix_are_kinds() -> None:
    assert groups(["NOUN", "NOUN", "VERB"], ("NOUN", "VERB")) == [("NOUN", 0, 1), ("VERB", 2, 2)]


def test_no_tokens_are_no_spans() -> None:
    assert groups([]) == []
    empty = np.empty(0, np.bool_)
    assert len(words_by_mean(np.empty((0, 3), np.float32), empty).classes) == 0
    for aggregation in (Aggregation.FIRST, Aggregation.MAX):
        found = words_by_one(aggregation, np.empty(0, np.int64), np.empty(0, np.float32), empty)
        assert len(found.classes) == 0


def as_lists(spans: Spans) -> tuple[list[int], list[float], list[int], list[int]]:
    return spans.classes.tolist(), spans.scores.tolist(), spans.first.tolist(), spans.last.tolist()


def test_a_word_is_what_its_first_or_its_surest_token_says() -> None:
    classes, scores = np.array([1, 2, 0, 2, 1]), np.array([0.5, 0.75, 0.75, 0.25, 0.25], np.float32)
    continues = np.array([True, True, True, False, True])  # the first token begins a word whatever is said of it
    first = words_by_one(Aggregation.FIRST, classes, scores, continues)
    assert as_lists(first) == ([1, 2], [0.5, 0.25], [0, 3], [2, 4])
    surest = words_by_one(Aggregation.MAX, classes, scores, continues)
    assert as_lists(surest) == ([2, 2], [0.75, 0.25], [0, 3], [2, 4])


def test_a_word_is_what_the_mean_of_its_tokens_says() -> None:
    probabilities = np.array([[0.5, 0.5], [0.25, 0.75], [1, 0]], np.float32)
    found = words_by_mean(probabilities, np.array([False, True, False]))
    assert as_lists(found) == ([1, 0], [0.625, 1.0], [0, 2], [1, 2])


@pytest.mark.parametrize(
    ("text", "places", "wanted", "goes_on"),
    [
        ("a bc", [(0, 1), (1, 3), (3, 4)], [(0, 1), (2, 3), (3, 4)], [False, False, True]),
        ("a  b", [(0, 1), (1, 2), (2, 4)], [(0, 1), (2, 2), (3, 4)], [False, False, False]),
        (" a ", [(0, 2), (2, 3)], [(1, 2), (3, 3)], [False, False]),
        ("a\tb", [(0, 1), (1, 2), (2, 3)], [(0, 1), (1, 2), (2, 3)], [False, True, True]),
        ("é", [(0, 1), (0, 1)], [(0, 1), (0, 1)], [False, False]),
        ("", [], [], []),
    ],
)
def test_blanks_are_no_part_of_a_token_and_begin_a_word(
    text: str, places: list[tuple[int, int]], wanted: list[tuple[int, int]], goes_on: list[bool]
) -> None:
    blank = is_blank(text)
    found = trimmed(np.array(places, np.int64).reshape(-1, 2), blank)
    assert [tuple(place) for place in found.tolist()] == wanted
    assert continuing(found[:, 0], blank).tolist() == goes_on
