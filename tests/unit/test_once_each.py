"""Every token of a document in windows is taken once, from the window where it has most around it."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.features.once_each import once_each
from pipelines.readings.texts import windows


def rows_of(length: int, room: int, stride: int) -> tuple[list[int], list[int], np.ndarray]:
    """The lengths of rows, the first token of each, and what is in them: tokens by number, -1 and -2 around."""
    bounds = [*windows(length, room, stride)]
    rows = [np.array([-1, *range(begin, end), -2]) for begin, end in bounds]
    return [len(row) for row in rows], [begin for begin, _ in bounds], np.concatenate(rows)


@pytest.mark.parametrize("length", [0, 1, 5, 10, 11, 19, 20, 57])
@pytest.mark.parametrize("stride", [0, 1, 3, 6, 9])
def test_each_token_comes_once_and_in_order(length: int, stride: int) -> None:
    lengths, begins, flat = rows_of(length, 10, stride)
    assert flat[once_each(lengths, begins)].tolist() == [-1, *range(length), -2]


@pytest.mark.parametrize("stride", [0, 1, 3, 6, 9])
def test_it_comes_from_where_it_is_farthest_from_a_border(stride: int) -> None:
    length = 41
    lengths, begins, _ = rows_of(length, 10, stride)
    starts = np.cumsum([0, *lengths])
    for token, place in enumerate(once_each(lengths, begins)[1:-1].tolist()):
        distances = {}
        for row, (begin, size) in enumerate(zip(begins, lengths, strict=True)):
            end = begin + size - 2
            if begin <= token < end:
                left = token - begin if begin else length
                right = end - 1 - token if end < length else length
                distances[row] = min(left, right)
        row = int(np.searchsorted(starts, place, side="right")) - 1
        assert row == max(distances, key=distances.__getitem__)  # the first of equals
        assert place == starts[row] + 1 + token - begins[row]


def test_special_tokens_may_be_any_number() -> None:
    assert once_each([7, 5], [0, 3], before=2, after=1).tolist() == [0, 1, 2, 3, 4, 5, 10, 11]
