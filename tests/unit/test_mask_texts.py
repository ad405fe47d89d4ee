"""Texts with one mask: what is read around it, and the text with it filled."""

from __future__ import annotations

import pytest

from pipelines.errors import DocumentError
from pipelines.readings.mask_texts import around_mask, fill


@pytest.mark.parametrize(
    ("text", "before", "after", "filled"),
    [
        ("The <mask> turns. ", "The", " turns.", "The wheel turns. "),
        ("<mask> turns", "", " turns", " wheel turns"),
        ("a\n<mask>", "a", "", "a\n wheel"),
        ("a  <mask>b</s>", "a", "b</s>", "a  wheelb</s>"),
        ("<mask>", "", "", " wheel"),
    ],
)
def test_blanks_before_the_mask_are_the_token_s(text: str, before: str, after: str, filled: str) -> None:
    assert around_mask(text) == (before, after)
    assert fill(text, " wheel") == filled


@pytest.mark.parametrize(("text", "times"), [("", 0), ("no mask", 0), ("<mask> and <mask>", 2)])
def test_one_mask_is_wanted(text: str, times: int) -> None:
    with pytest.raises(DocumentError, match=f"has <mask> {times} times, wanted once"):
        around_mask(text)
