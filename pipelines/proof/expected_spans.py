"""What a token classifier should find in a document, from what the oracle computed of it: none of the engine's code.

Only what is clear is said: a token between two classes, or one that shares its character with another, may be anything.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.proof.compare import Comparison, Vector
from pipelines.proof.expected_tokens import once_each
from pipelines.proof.oracle import Computed, Place
from pipelines.spec import Aggregation, SpansOptions

_NEAR = 8
"""Spans that share a character, which are the tokens of it, are never more."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A token or a word: its characters, the class and the probability it should have, and by which margin."""

    begin: int
    end: int
    kind: str
    probability: float
    margin: float


def compare_spans(
    comparison: Comparison,
    where: str,
    found: Sequence[dict[str, Any]],
    options: SpansOptions,
    probabilities: Vector,
    text: str,
    places: Sequence[Place],
    prefix: int,
) -> None:
    """Add the spans of a document to the comparison. *Shape:* probabilities ``[tokens, classes]``, places ``[tokens]``
    or more, where the text was cut; the first ``prefix`` characters of ``text`` are the run's.
    """
    clear = 2 * comparison.bounds.clear_margin  # of ever so many tokens, where a document has but one label
    comparison.label_flips = comparison.label_flips or 0
    differences: list[float] = []
    begins = [span["begin"] for span in found]  # in order: of ever so many, those around a place are found at once
    units = [unit for unit in _units(options, probabilities, text, places, clear) if unit.end > prefix]
    for unit in units:
        begin, end = max(unit.begin, prefix) - prefix, unit.end - prefix
        behind = bisect_right(begins, begin)
        around = [span for span in found[max(behind - _NEAR, 0) : behind] if end <= span["end"]]
        kinds = [span["label"] for span in around] or ["O"]
        if unit.kind not in kinds and unit.margin > clear:
            comparison.verdict(f"{text[unit.begin : unit.end]!r} in {where}", kinds[0], unit.kind, unit.margin, clear)
        if unit.margin > clear and [(span["begin"], span["end"]) for span in around] == [(begin, end)]:
            differences.append(abs(around[0]["score"] - unit.probability))
    if differences:
        comparison.scores(where, float(np.mean(differences)))


def token_probabilities(rows: Sequence[Computed], weight: Vector, bias: Vector, tokens: int) -> Vector:
    """What the head says of every token of the text once. *Shape:* weight ``[classes, hidden]``, bias ``[classes]``,
    result ``[tokens, classes]``.
    """
    logits = [row.hidden[-1] @ weight.T + bias for row in rows]
    powers = [np.exp(one - one.max(axis=1, keepdims=True)) for one in logits]
    scores = once_each([one / one.sum(axis=1, keepdims=True) for one in powers], tokens)
    return scores[1:-1]


def _units(
    options: SpansOptions, probabilities: Vector, text: str, places: Sequence[Place], clear: float
) -> Iterator[Unit]:
    """The tokens, or the words, that have characters of their own."""
    trimmed = [_trimmed(place, text) for place in places[: len(probabilities)]]
    groups: list[list[int]] = []
    for number, (begin, _, is_unknown) in enumerate(trimmed):
        goes_on = begin > 0 and " " not in text[begin - 1 : begin + 1] and not is_unknown
        by_token = options.aggregation in (Aggregation.NONE, Aggregation.SIMPLE)
        if groups and goes_on and not by_token:
            groups[-1].append(number)
        else:
            groups.append([number])
    bounds = [(trimmed[group[0]][0], trimmed[group[-1]][1]) for group in groups]
    for number, (group, (begin, end)) in enumerate(zip(groups, bounds, strict=True)):
        beside = bounds[max(number - 1, 0) : number] + bounds[number + 1 : number + 2]
        # Characters of its own, and beside it no token of blanks alone, which would be in the same span unseen.
        if begin < end and all((last <= begin or first >= end) and first < last for first, last in beside):
            scores, contested = _verdict(options.aggregation, probabilities[group], clear)
            ranked = np.sort(scores)
            margin = 0.0 if contested or len(ranked) < 2 else float(ranked[-1] - ranked[-2])
            kind = options.labels[int(scores.argmax())]
            if options.aggregation is not Aggregation.NONE:
                kind = kind.partition("-")[2] if "-" in kind else kind
            yield Unit(begin, end, kind, float(scores.max()), margin)


def _verdict(aggregation: Aggregation, tokens: Vector, clear: float) -> tuple[Vector, bool]:
    """The probabilities of a word, and whether another token might have been asked. *Shape:* ``[tokens, classes]``."""
    if aggregation is Aggregation.AVERAGE:
        mean: Vector = tokens.mean(axis=0)
        return mean, False
    if aggregation is Aggregation.MAX:
        highest = tokens.max(axis=1)
        rivals = tokens[highest >= highest.max() - clear].argmax(axis=1)
        return tokens[highest.argmax()], len(set(rivals.tolist())) > 1
    return tokens[0], False


def _trimmed(place: Place, text: str) -> Place:
    begin, end, is_unknown = place
    while begin < end and text[begin] == " ":
        begin += 1
    while begin < end and text[end - 1] == " ":
        end -= 1
    return begin, end, is_unknown
