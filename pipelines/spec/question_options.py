"""The options of features that ask a model something about each document: zero-shot, choices, masks and pronouns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

HYPOTHESIS = "This example is {}."


@dataclass(frozen=True, slots=True)
class ZeroShotOptions:
    """Labels, and the sentence that each stands in as ``{}``; with ``each`` every label is judged by itself."""

    labels: tuple[str, ...] = ()
    hypothesis: str = HYPOTHESIS
    each: bool = False


class ChoiceFormat(StrEnum):
    """How a question and a choice are put together: as transformers does, or as fairseq's models of these tasks read
    them (:mod:`pipelines.readings.choices`).
    """

    PLAIN = "plain"
    CSQA = "csqa"
    RACE = "race"


@dataclass(frozen=True, slots=True)
class ChoiceOptions:
    """The best of a document's choices, which are attached to it."""

    format: ChoiceFormat = ChoiceFormat.PLAIN


@dataclass(frozen=True, slots=True)
class FillMaskOptions:
    """The ``count`` tokens that fit the mask best."""

    count: int = 5


@dataclass(frozen=True, slots=True)
class PronounOptions:
    """What a pronoun stands for: one of the candidates attached, or with ``find`` of the noun phrases of the text."""

    find: bool = False
