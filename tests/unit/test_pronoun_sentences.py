"""Pronouns in sentences: the markup, the candidates, and what is masked."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import example

from pipelines.errors import DocumentError, InputError
from pipelines.readings.noun_phrases import MODEL, is_pronoun, noun_phrases, noun_runs, phrases_of
from pipelines.readings.pronoun_sentences import (
    PronounSentence,
    Weighed,
    cleaned_query,
    masked,
    parse_pronoun_sentence,
    rivals,
)


@pytest.mark.parametrize(
    ("marked", "text", "pronoun", "query"),
    [
        ("The _trophy_ is big, so [it] is.", "The trophy is big, so it is.", "it", "trophy"),
        ("Because [it], said _the man_, was", "Because it, said the man, was", "it", "the man"),
        ("[It] rains", "It rains", "It", None),
        ("日本 [それ]。", "日本 それ。", "それ", None),
        (" a  [it]  ", " a  it  ", "it", None),
    ],
)
def test_markup_is_taken_out_and_the_text_left_as_it_stands(
    marked: str, text: str, pronoun: str, query: str | None
) -> None:
    sentence = parse_pronoun_sentence(marked)
    assert (sentence.text, sentence.pronoun, sentence.query) == (text, pronoun, query)


@pytest.mark.parametrize(
    ("marked", "found"),
    [
        ("no pronoun", "0 .pronouns. in brackets"),
        ("[it] and [they]", "2 .pronouns. in brackets"),
        ("[] it", "0 .pronouns. in brackets"),
        ("_a_ _b_ [it]", "2 _queries_ between underscores"),
        ("snake_case [it]", "a '_' beside the markup"),
        ("_the [it]_", "a '_' beside the markup"),
        ("[it] and ]", "a ']' beside the markup"),
        ("", "0 .pronouns. in brackets"),
    ],
)
def test_other_markup_is_refused_rather_than_guessed_at(marked: str, found: str) -> None:
    with pytest.raises(DocumentError, match=found):
        parse_pronoun_sentence(marked)


def test_a_place_outside_of_the_text_is_refused() -> None:
    with pytest.raises(DocumentError, match=r"at \[3, 9\) of a text of 5 characters"):
        PronounSentence("short", 3, 9, None)


def test_a_query_loses_its_full_stop() -> None:
    assert [cleaned_query(query) for query in ("the man.", "the man,", "the man", "Mr. X..")] == [
        *("the man", "the man", "the man", "Mr. X."),
    ]  # fmt: skip
    with pytest.raises(DocumentError, match="wanted words"):
        cleaned_query(".")


def test_what_overlaps_with_the_query_is_no_rival() -> None:
    chosen = rivals(["The trophy", " the suitcase ", "trophy", "case", "the suitcase", " "], "Trophy")
    assert chosen == ["the suitcase", "case"]
    assert rivals(["the big trophy", "big"], "big trophy") == []
    assert rivals(["a", "b", "a"], None) == ["a", "b"]


def test_a_candidate_is_masked_with_the_blank_before_it() -> None:
    sentence = parse_pronoun_sentence("so [it] is")
    assert sentence.with_candidate("the mill") == ("so the mill is", 2, 11)
    assert parse_pronoun_sentence("“[it]”").with_candidate("x") == ("“x”", 1, 2)
    ids, spans = np.arange(10, 15, dtype=np.int32), np.array([(0, 2), (2, 3), (3, 6), (6, 11), (11, 14)])
    hidden, places = masked(ids, spans, 2, 11, 99)
    assert hidden.tolist() == [10, 99, 99, 99, 14]
    assert places.tolist() == [1, 2, 3]
    assert ids.tolist() == [10, 11, 12, 13, 14]


def test_the_query_wins_where_no_rival_is_likelier() -> None:
    assert Weighed(("a", -1.0), (("b", -1.0), ("c", -2.0))).answer is True
    assert Weighed(("a", -1.5), (("b", -1.0), ("c", -2.0))).answer is False
    assert Weighed(None, (("b", -1.5), ("c", -1.0), ("d", -1.0))).answer == "c"


def test_runs_are_of_one_kind_of_noun() -> None:
    assert noun_runs(["PROPN", "PROPN", "NOUN", "VERB", "NOUN", "DET", "PRON"]) == [(0, 2), (2, 3), (4, 5)]
    assert noun_runs([]) == []
    assert is_pronoun(["PRON", "PRON"])
    assert not is_pronoun(["DET", "NOUN"])


@pytest.mark.skipif(importlib.util.find_spec(MODEL) is not None, reason=f"{MODEL} is installed")
def test_without_spacy_s_model_it_says_what_to_install() -> None:
    with pytest.raises(InputError, match=f"{MODEL}.*is not installed") as error:
        noun_phrases("The trophy is big.")
    assert f"python -m spacy download {MODEL}" in error.value.hint


def test_spacy_s_chunks_and_runs_of_nouns_are_candidates() -> None:
    """A document of spaCy's own, with the parse that its model would give."""
    tokens = pytest.importorskip("spacy.tokens", reason="spaCy is not installed")
    vocabulary = importlib.import_module("spacy.lang.en").English().vocab
    document = tokens.Doc(
        vocabulary,
        words=["The", "trophy", "of", "Ann", "Lee", "fits", "it", "."],
        spaces=[True, True, True, True, True, True, False, False],
        pos=["DET", "NOUN", "ADP", "PROPN", "PROPN", "VERB", "PRON", "PUNCT"],
        heads=[1, 5, 1, 4, 2, 5, 5, 5],
        deps=["det", "nsubj", "prep", "compound", "pobj", "ROOT", "dobj", "punct"],
    )
    assert phrases_of(document) == ["The trophy", "trophy", "Ann Lee"]


@pytest.mark.skipif(importlib.util.find_spec(MODEL) is None, reason=f"{MODEL} is not installed")
def test_spacy_s_noun_phrases_are_candidates() -> None:
    found = noun_phrases("The trophy would not fit in the brown suitcase because it was too big.")
    assert {"The trophy", "the brown suitcase"} <= set(found)
    assert "it" not in found


@pytest.mark.parametrize(("part", "count", "unmarked"), [("train", 554, 0), ("val", 104, 1), ("test", 146, 3)])
def test_the_sentences_of_superglue_are_marked_at_their_pronoun_and_phrase(
    part: str, count: int, unmarked: int, test_data: Path
) -> None:
    """What cannot be marked is a pronoun within its own phrase, and three phrases that are not in their text."""
    published = (test_data / "wsc" / f"superglue_wsc_{part}.jsonl").read_text(encoding="utf-8")
    targets = [json.loads(line)["target"] for line in published.splitlines()]
    documents = list(example("make_wsc").superglue(published))
    assert len(documents) == len(targets) == count
    left = 0
    for target, document in zip(targets, documents, strict=True):
        if "[" not in document["text"]:
            left += 1
            continue
        sentence = parse_pronoun_sentence(document["text"])
        assert sentence.pronoun.lower() == target["span2_text"].rstrip(".,").lower()
        assert str(sentence.query).lower().split() == target["span1_text"].rstrip(".,").lower().split()
    assert left == unmarked
