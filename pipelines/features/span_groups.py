"""Tokens that were judged one by one, put together to spans: neighbours of one kind.

The rules are those of transformers (https://github.com/huggingface/transformers, v5.23.0,
``pipelines/token_classification.py``): a label ``B-X`` begins a span of kind X, ``I-X`` or X goes on with one, and what
is of kind ``O`` is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.spec import Aggregation

OUTSIDE = "O"
Numbers = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Tags:
    """What labels say, by the number of the class. *Shape:* begins and same ``[classes]``.

    ``names`` are the kinds, ``begins`` is true of labels that never go on with a span, and ``same`` is equal for labels
    of one kind.
    """

    names: tuple[str, ...]
    begins: npt.NDArray[np.bool_]
    same: Numbers

    @classmethod
    def of(cls, labels: Sequence[str]) -> Tags:
        """Read the labels of a token classifier, in class order."""
        kinds = [label[2:] if label.startswith(("B-", "I-")) else label for label in labels]
        return cls(
            tuple(label.partition("-")[2] if "-" in label else label for label in labels),
            np.array([label.startswith("B-") for label in labels], np.bool_),
            np.array([kinds.index(kind) for kind in kinds], np.int64),
        )


@dataclass(frozen=True, slots=True)
class Spans:
    """Stretches of tokens. *Shape:* each ``[spans]``: class (of the first token), score, first and last token."""

    classes: Numbers
    scores: Scores
    first: Numbers
    last: Numbers


def span_groups(tags: Tags, words: Spans) -> Spans:
    """Neighbours of one kind as one span each, whose score is the mean of theirs; ``O`` is still among them."""
    if not len(words.classes):
        return words
    kinds = tags.same[words.classes]
    starts = np.flatnonzero(np.append(True, (kinds[1:] != kinds[:-1]) | tags.begins[words.classes[1:]]))
    counts = np.diff(np.append(starts, len(kinds)))
    means = np.add.reduceat(words.scores.astype(np.float64), starts) / counts
    last = np.append(starts[1:], len(kinds)) - 1
    return Spans(words.classes[starts], means.astype(np.float32), words.first[starts], words.last[last])


def each_token(classes: Numbers, scores: Scores) -> Spans:
    """Every token as a span. *Shape:* each ``[tokens]``."""
    tokens = np.arange(len(classes))
    return Spans(classes, scores, tokens, tokens)


def words_by_one(aggregation: Aggregation, classes: Numbers, scores: Scores, continues: npt.NDArray[np.bool_]) -> Spans:
    """Words, of which one token says what they are: the first, or with ``max`` the one that is surest of itself.

    *Shape:* all ``[tokens]``.
    """
    first, last = _words(continues)
    chosen = first
    if aggregation is Aggregation.MAX and len(first):
        surest = np.repeat(np.maximum.reduceat(scores, first), last - first + 1) == scores
        word = np.repeat(np.arange(len(first)), last - first + 1)
        _, places = np.unique(word[surest], return_index=True)
        chosen = np.flatnonzero(surest)[places]
    return Spans(classes[chosen], scores[chosen], first, last)


def words_by_mean(probabilities: Scores, continues: npt.NDArray[np.bool_]) -> Spans:
    """Words as the mean of their tokens' probabilities says. *Shape:* ``[tokens, classes]`` and ``[tokens]``."""
    first, last = _words(continues)
    if not len(first):
        return each_token(np.empty(0, np.int64), np.empty(0, np.float32))
    sums = np.add.reduceat(probabilities.astype(np.float64), first, axis=0)
    means = (sums / (last - first + 1)[:, None]).astype(np.float32)
    return Spans(means.argmax(axis=1), means.max(axis=1), first, last)


def continuing(begins: Numbers, blank: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which tokens go on with the word before them: those with no blank before or under their first character.

    Only a blank ends a word: ``Ulm,`` is one word, and so are two that a tab keeps apart. *Shape:* begins and result
    ``[tokens]``, blank ``[characters]``.
    """
    blank = np.append(blank, False)
    goes_on: npt.NDArray[np.bool_] = (begins > 0) & ~blank[begins] & ~blank[np.maximum(begins - 1, 0)]
    return goes_on


def _words(continues: npt.NDArray[np.bool_]) -> tuple[Numbers, Numbers]:
    """The first and the last token of each word; the first token begins one in any case."""
    if not len(continues):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    first = np.flatnonzero(np.append(True, ~continues[1:]))
    return first, np.append(first[1:], len(continues)) - 1
