"""Poison is narrowed down by deaths alone: the guilty are found, the innocent never convicted."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.documents import Reason
from pipelines.suspicion import LEAST_DEATHS, NO_SUSPICION, Suspicion, accuse, suspicion_from_json


def die(suspicion: Suspicion, poison: set[int], documents: int, size: int) -> tuple[int, ...] | None:
    """What a process has in hand when it dies: it takes groups of suspects first, then the rest, ``size`` at a time."""
    rest = [index for index in range(documents) if index not in suspicion.suspects]
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
    assert suspicion.deaths <= len(poison) * (LEAST_DEATHS + math.ceil(math.log2(size)))


def test_one_poison_among_64_takes_at_most_ten_deaths() -> None:
    for poison in range(64):
        assert find({poison}, 512, 64).deaths <= 8


def test_a_death_by_chance_convicts_nobody() -> None:
    """Random kills: each time other documents are in hand."""
    suspicion = NO_SUSPICION
    for start in range(0, 300, 6):
        suspicion, narrowed = accuse(suspicion, range(start, start + 6), Reason.CRASH, "signal 9")
        assert not narrowed
    assert not suspicion.guilty
    assert len(suspicion.suspects) == 300


def test_twice_is_not_enough_for_one_document() -> None:
    suspicion, _ = accuse(NO_SUSPICION, (7,), Reason.CRASH, "signal 9")
    suspicion, narrowed = accuse(suspicion, (7,), Reason.CRASH, "signal 9")
    assert narrowed
    assert not suspicion.guilty
    suspicion, _ = accuse(suspicion, (7,), Reason.TIMEOUT, "hang")
    assert suspicion.guilty[7].reason is Reason.TIMEOUT
    assert suspicion.guilty[7].attempts == 3


def test_a_death_with_nothing_in_hand_accuses_nobody() -> None:
    suspicion, narrowed = accuse(NO_SUSPICION, (), Reason.CRASH, "")
    assert not narrowed
    assert suspicion.groups == ()
