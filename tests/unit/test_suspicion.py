"""Poison is narrowed down by deaths alone: the guilty are found, the innocent never convicted."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.documents import Reason
from pipelines.suspicion import DEATHS_ALONE, NO_SUSPICION, PIECES, Suspicion, accuse, suspicion_from_json


def die(suspicion: Suspicion, poison: set[int], documents: int, size: int) -> tuple[int, ...] | None:
    """What a process has in hand when it dies: it takes groups of suspects first, then the rest, ``size`` at a time."""
    suspects = suspicion.suspects
    rest = [index for index in range(documents) if index not in suspects]
    for group in (*suspicion.groups, rest):
        alive = [index for index in group if index not in suspicion.guilty]
        for start in range(0, len(alive), size):
            in_hand = tuple(alive[start : start + size])
            if poison & set(in_hand):
                return in_hand
    return None


def find(poison: set[int], documents: int, size: int) -> Suspicion:
    """Attempt after attempt, until the batch comes through."""
    suspicion = NO_SUSPICION
    for _ in range(10_000):
        in_hand = die(suspicion, poison, documents, size)
        if in_hand is None:
            return suspicion
        suspicion, _ = accuse(suspicion, in_hand, Reason.CRASH, "signal 9")
        suspicion = suspicion_from_json(suspicion.to_json())
    raise AssertionError("no end")


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(1, 200), st.integers(1, 64))
def test_exactly_the_poison_is_found(data: st.DataObject, documents: int, size: int) -> None:
    poison = data.draw(st.sets(st.integers(0, documents - 1), max_size=6))
    suspicion = find(poison, documents, size)
    assert set(suspicion.guilty) == poison
    assert suspicion.deaths <= len(poison) * (DEATHS_ALONE + math.ceil(math.log(size, PIECES)))
    assert all(guilt.attempts <= suspicion.deaths for guilt in suspicion.guilty.values())


@pytest.mark.parametrize(("in_hand", "deaths"), [(1, 3), (16, 4), (64, 5), (1024, 6), (3379, 6)])
def test_one_poison_takes_few_deaths(in_hand: int, deaths: int) -> None:
    for poison in range(0, in_hand, 1 + in_hand // 7):
        found = find({poison}, in_hand, in_hand)
        assert found.deaths <= deaths
        assert found.guilty[poison].attempts == found.deaths


def test_each_poison_of_a_batch_counts_its_own_deaths() -> None:
    suspicion = find({3, 200, 500}, 512, 64)
    assert {index: guilt.attempts for index, guilt in suspicion.guilty.items()} == {3: 5, 200: 5, 500: 5}
    assert suspicion.deaths == 15


def test_the_innocent_are_computed_before_the_accused() -> None:
    """So that a process shows that it can compute at all before it dies."""
    suspicion, _ = accuse(NO_SUSPICION, range(32), Reason.CRASH, "signal 9")
    suspicion, narrowed = accuse(suspicion, (4, 5), Reason.CRASH, "signal 9")
    assert narrowed
    assert suspicion.groups[-2:] == ((4,), (5,))
    assert suspicion.suspects == set(range(32))


def test_a_death_by_chance_convicts_nobody() -> None:
    """Random kills: each time other documents are in hand."""
    suspicion = NO_SUSPICION
    for start in range(0, 300, 6):
        suspicion, narrowed = accuse(suspicion, range(start, start + 6), Reason.CRASH, "signal 9")
        assert not narrowed
    assert not suspicion.guilty
    assert len(suspicion.suspects) == 300


def test_twice_alone_is_not_enough() -> None:
    """Deaths with others in hand prove nothing about one of them."""
    suspicion = NO_SUSPICION
    for in_hand in ((5, 6, 7), (8,), (7,), (7,)):
        suspicion, _ = accuse(suspicion, in_hand, Reason.CRASH, "signal 9")
        assert not suspicion.guilty
    suspicion, _ = accuse(suspicion, (7,), Reason.TIMEOUT, "hang")
    assert suspicion.guilty[7].reason is Reason.TIMEOUT
    assert suspicion.guilty[7].attempts == 4


def test_a_death_with_nothing_in_hand_accuses_nobody() -> None:
    suspicion, narrowed = accuse(NO_SUSPICION, (), Reason.CRASH, "")
    assert not narrowed
    assert suspicion.groups == ()
