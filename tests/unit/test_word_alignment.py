"""Tokens to words: shares, blanks, characters spread over several tokens, and sums that are kept for any text.

``FUZZ_STRINGS=100000`` asks for as many strings; with PENSTOCK_TEST_DATA they go through RoBERTa's own tokenizer.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from unit.odd_strings import FUZZ_STRINGS, odd_strings

from pipelines.features.word_alignment import Alignment, align, joined_words, with_special
from pipelines.features.word_split import split_words
from pipelines.roberta.pieces import Pieces
from pipelines.roberta.sentences import bare
from pipelines.roberta.tokenizer import Tokenizer


def by_rows(alignment: Alignment) -> list[list[tuple[int, float]]]:
    """The tokens of each row with their shares."""
    rows: list[list[tuple[int, float]]] = [[] for _ in range(alignment.rows)]
    for row, token, share in zip(alignment.row, alignment.token, alignment.share, strict=True):
        rows[row].append((int(token), float(share)))
    return rows


def spans(*places: tuple[int, int]) -> np.ndarray:
    return np.array(places, np.int64).reshape(-1, 2)


def test_a_token_of_several_words_gives_each_an_equal_share() -> None:
    text, words = "don't go", [(0, 2), (2, 5), (6, 8)]
    alignment = align(spans((0, 3), (3, 5), (5, 8)), words, text)
    assert by_rows(alignment) == [[(0, 0.5)], [(0, 0.5), (1, 1)], [(2, 1)], []]


def test_a_blank_that_a_token_begins_with_is_no_word_s() -> None:
    text = "a  b"
    assert by_rows(align(spans((0, 1), (1, 2), (2, 4)), [(0, 1), (3, 4)], text)) == [[(0, 1)], [(1, 1), (2, 1)], []]
    # Where somebody made a word of the second blank, it is the token's.
    given = [(0, 1), (1, 2), (3, 4)]
    assert by_rows(align(spans((0, 1), (1, 2), (2, 4)), given, text)) == [[(0, 1)], [(1, 1)], [(2, 1)], []]


def test_blanks_behind_the_last_word_are_in_the_last_row() -> None:
    assert by_rows(align(spans((0, 1), (1, 2), (2, 3)), [(0, 1)], "a \n")) == [[(0, 1)], [(1, 1), (2, 1)]]
    assert by_rows(align(spans((0, 1)), [], " ")) == [[(0, 1)]]
    assert by_rows(align(spans(), [], "")) == [[]]


def test_tokens_that_share_a_character_are_all_its_word_s() -> None:
    assert by_rows(align(spans((0, 1), (0, 1), (0, 2)), [(0, 1), (1, 2)], "😀b")) == [
        [(0, 1), (1, 1), (2, 0.5)],
        [(2, 0.5)],
        [],
    ]


def test_a_word_without_characters_has_no_vector() -> None:
    text, words = joined_words(["a", "", "b"])
    assert (text, words) == ("a  b", [(0, 1), (2, 2), (3, 4)])
    alignment = align(spans((0, 1), (1, 2), (2, 4)), words, text)
    assert by_rows(alignment) == [[(0, 1)], [], [(1, 1), (2, 1)], []]
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert alignment.sums(vectors).tolist() == [[0, 1], [0, 0], [6, 8], [0, 0]]
    assert joined_words([]) == ("", [])


def test_special_tokens_are_around_the_words() -> None:
    alignment = with_special(align(spans((0, 1), (1, 3)), [(0, 1), (2, 3)], "a b"), 1, 1)
    assert by_rows(alignment) == [[(0, 1)], [(1, 1)], [(2, 1)], [(3, 1)]]
    assert by_rows(with_special(align(spans(), [], ""), 1, 1)) == [[(0, 1)], [(1, 1)]]


def test_sums_work_over_several_layers_at_once() -> None:
    alignment = align(spans((0, 3), (3, 5), (5, 8)), [(0, 2), (2, 5), (6, 8)], "don't go")
    vectors = np.random.default_rng(0).normal(size=(4, 3, 5)).astype(np.float32)
    layers = [alignment.sums(layer) for layer in vectors]
    assert np.array_equal(alignment.sums(vectors), np.stack(layers))
    np.testing.assert_allclose(layers[0][1], vectors[0, 0] / 2 + vectors[0, 1], rtol=1e-6)


@pytest.fixture(scope="module", params=["small", "real"])
def tokenizer(request: pytest.FixtureRequest, tiny_model: Path) -> Tokenizer:
    if request.param == "small":
        return Tokenizer(tiny_model, "roberta", 600)
    return Tokenizer(request.getfixturevalue("test_data") / "tokenizer_roberta", "roberta", 50265)


def some_words(text: str, chance: random.Random) -> Iterator[tuple[int, int]]:
    """Words as somebody else might cut them: anywhere, with characters left out."""
    place = 0
    while place < len(text):
        begin = place + chance.choice((0, 0, 0, 1, 2))
        end = begin + chance.choice((0, 1, 1, 2, 5))
        if end <= len(text):
            yield begin, end
        place = max(end, begin + 1)


def test_no_token_is_lost_whatever_the_text(tokenizer: Tokenizer) -> None:
    pieces, chance, numbers = Pieces(tokenizer), random.Random(5), np.random.default_rng(5)
    for text in odd_strings(FUZZ_STRINGS, seed=3):
        ids = bare(tokenizer, text)
        assert pieces.text(ids.tolist()) == text
        places = pieces.spans(ids, text)
        assert places[:, 0].min(initial=0) == 0
        assert places[:, 1].max(initial=0) == len(text)
        vectors = numbers.normal(size=(len(ids) + 2, 4)).astype(np.float32)
        words = split_words(text)
        for cut in (words, list(some_words(text, chance))):
            alignment = with_special(align(places, cut, text), 1, 1)
            sums = alignment.sums(vectors)
            assert len(sums) == len(cut) + 2
            assert np.abs(sums.sum(axis=0) - vectors.sum(axis=0)).max(initial=0) < 1e-4, repr(text)
        found = by_rows(with_special(align(places, words, text), 1, 1))
        assert all(found), "every word of a text has a token"
        assert found[0] == [(0, 1.0)]
        assert found[-1][-1] == (len(ids) + 1, 1.0)
