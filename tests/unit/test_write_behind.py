"""Write-behind: one behind at most, in the caller's context, nothing swallowed."""

from __future__ import annotations

import threading
from contextvars import ContextVar

import pytest

from tasks.write_behind import WriteBehind

WHERE: ContextVar[str] = ContextVar("where", default="")


def test_it_goes_on_behind_the_callers_back_in_the_callers_context() -> None:
    behind, go, seen = WriteBehind(), threading.Event(), []

    def finish() -> None:
        assert go.wait(30)
        seen.append((WHERE.get(), threading.current_thread() is threading.main_thread()))

    token = WHERE.set("batch 0")
    behind.hand_over(finish)
    WHERE.reset(token)
    assert seen == []
    behind.settle(0.01)  # as long as that it waits, no longer
    assert seen == []
    go.set()
    behind.settle()
    assert seen == [("batch 0", False)]


def test_a_second_one_waits_for_the_first() -> None:
    behind, go, order = WriteBehind(), threading.Event(), []

    def first() -> None:
        assert go.wait(30)
        order.append("first")

    behind.hand_over(first)

    def hand_over_another() -> None:
        behind.hand_over(lambda: order.append("second"))
        order.append("handed")

    second = threading.Thread(target=hand_over_another)
    second.start()
    second.join(0.1)
    assert second.is_alive()
    assert order == []
    go.set()
    second.join(30)
    behind.settle()
    assert order[0] == "first"
    assert sorted(order[1:]) == ["handed", "second"]


def test_what_was_raised_behind_is_raised_at_the_next_turn_and_once() -> None:
    behind = WriteBehind()

    def fail() -> None:
        raise ValueError("behind")

    behind.hand_over(fail)
    with pytest.raises(ValueError, match="behind"):
        behind.settle()
    behind.settle()
    behind.hand_over(lambda: None)
    behind.settle()
