"""Pronouns without a column of candidates: spaCy's own objects from its package to the sealed rows.

spaCy's English models are no wheels of the package index, so its parse is made by rule here; all else is spaCy.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from acceptance.commands import call, write_jsonl
from acceptance.conftest import OPTIONS
from chaos.disturbance import rows
from parity.lm_models import add_lm_head

pytest.importorskip("spacy", reason="spaCy is not installed")

PACKAGE = """
import spacy
from spacy.language import Language

KINDS = {"the": "DET", "brown": "ADJ", "is": "VERB", "fits": "VERB", "it": "PRON", "ann": "PROPN", "lee": "PROPN"}
NOUNS = ("trophy", "suitcase")


@Language.component("rule_made_parse")
def rule_made_parse(document):
    for token in document:
        token.pos_ = "NOUN" if token.lower_ in NOUNS else KINDS.get(token.lower_, "X")
    verb = next(token for token in document if token.pos_ == "VERB")
    for token in document:
        following = document[token.i + 1 :]
        if token.pos_ in ("DET", "ADJ"):
            token.head, token.dep_ = next(one for one in following if one.pos_ == "NOUN"), "det"
        elif token.pos_ == "PROPN" and following and following[0].pos_ == "PROPN":
            token.head, token.dep_ = following[0], "compound"
        elif token.pos_ in ("NOUN", "PROPN", "PRON"):
            token.head, token.dep_ = verb, "nsubj" if token.i < verb.i else "dobj"
        else:
            token.head, token.dep_ = verb, "ROOT" if token == verb else "dep"
    return document


def load():
    english = spacy.blank("en")
    english.add_pipe("rule_made_parse")
    return english
"""
TEXT = "Ann Lee fits the _trophy_ in the brown suitcase, [it] is big."


def test_candidates_are_the_noun_phrases_of_spacy(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "en_core_web_lg.py").write_text(PACKAGE, encoding="utf-8")
    model = add_lm_head(tiny_model, tmp_path / "lm")
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": TEXT}, {"text": TEXT.replace("_", "")}, {"text": "[It] is."}])
    answer = call(
        *(tmp_path, "run", corpus, "--out", tmp_path / "out", "--model", model, *OPTIONS, "--inline", "--json"),
        *("--disambiguate", "--max-quarantined", 1, "--proof", 2),
        PYTHONPATH=str(tmp_path),
    )
    assert answer.code == 0, answer.err
    assert (answer.value["rows"], answer.value["quarantined"]) == (2, 1)
    asked, free = ([one["text"] for one in row["pronoun_candidates"]] for row in rows(tmp_path / "out").to_pylist())
    assert asked == ["trophy", "Ann Lee", "the brown suitcase", "suitcase"]
    assert free == ["Ann Lee", "the trophy", "trophy", "the brown suitcase", "suitcase"]
    by_hand = call(tmp_path, "disambiguate", TEXT, "--model", model, "--json", PYTHONPATH=str(tmp_path))
    assert by_hand.code == 0, by_hand.err
    assert by_hand.value["query"] is not None
    assert call(tmp_path, "verify", tmp_path / "out").code == 0
