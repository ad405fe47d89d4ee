"""The noun phrases of a text, as spaCy's large English model finds them: what a pronoun may stand for.

Chosen as fairseq's task for Winograd schemas chooses them (https://github.com/facebookresearch/fairseq at 3d262bb2,
``examples/roberta/wsc/wsc_utils.py``): spaCy's noun chunks and every run of nouns or of proper nouns, without pronouns.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import cache
from typing import Any

from pipelines.errors import InputError

MODEL = "en_core_web_lg"
NOUNS = ("NOUN", "PROPN")


def noun_phrases(text: str) -> list[str]:
    """The noun phrases in order, some within others. Raises InputError where spaCy or its model is not installed."""
    return phrases_of(_model()(text))


def phrases_of(document: Any) -> list[str]:
    """The noun phrases of a text that spaCy has read, as a ``spacy.tokens.Doc`` with parts of speech and a parse."""
    parts_of_speech = [token.pos_ for token in document]
    places = {(chunk.start, chunk.end) for chunk in document.noun_chunks} | set(noun_runs(parts_of_speech))
    chosen = [place for place in sorted(places) if not is_pronoun(parts_of_speech[slice(*place)])]
    return [document[begin:end].text for begin, end in chosen]


def noun_runs(parts_of_speech: Sequence[str]) -> list[tuple[int, int]]:
    """The longest runs of one and the same kind of noun, as words [begin, end)."""
    runs: list[tuple[int, int]] = []
    for place, kind in enumerate(parts_of_speech):
        if kind not in NOUNS:
            continue
        if runs and runs[-1][1] == place and parts_of_speech[place - 1] == kind:
            runs[-1] = (runs[-1][0], place + 1)
        else:
            runs.append((place, place + 1))
    return runs


def is_pronoun(parts_of_speech: Sequence[str]) -> bool:
    """Whether a phrase consists of pronouns alone."""
    return all(kind == "PRON" for kind in parts_of_speech)


@cache
def _model() -> Any:
    try:
        return importlib.import_module(MODEL).load()
    except ImportError as error:
        raise InputError(
            f"No candidates are given, and {MODEL}, the model of spaCy that would find some, is not installed.",
            f"Name the candidates, or install it: pip install spacy && python -m spacy download {MODEL}",
        ) from error
