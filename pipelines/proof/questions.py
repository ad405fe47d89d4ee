"""Zero-shot labels, choices, fills and pronouns of a part beside what the oracle makes of the same document.

What is put together from several texts is put together here once more, by transformers' tokenizer; what is too long for
one row, or would take too many, is passed over.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.proof.compare import Comparison, Vector
from pipelines.proof.subjects import Subject
from pipelines.readings.attached_values import text_list
from pipelines.readings.pronoun_sentences import parse_pronoun_sentence
from pipelines.roberta.choice_head import choice_head
from pipelines.roberta.heads import Kind
from pipelines.roberta.nli import contradiction_class, entailment_class
from pipelines.spec import (
    ChoiceFormat,
    ChoiceOptions,
    FeatureSpec,
    FillMaskOptions,
    Long,
    PronounOptions,
    RunSpec,
    ZeroShotOptions,
)

if TYPE_CHECKING:
    from pipelines.proof.oracle import Sight

RACE_TOKENS = 128
MAX_ROWS = 32
"""Of a document with more labels, choices or candidates nothing is proved: it would take too long."""


def compare_questions(
    comparison: Comparison, subject: Subject, features: Sequence[FeatureSpec], spec: RunSpec, sight: Sight
) -> None:
    """Add what the answers among the features of one model say of a document to the comparison."""
    for feature in features:
        where = f"{feature.columns[0]} of {subject.where}"
        found = [subject.row[column] for column in feature.columns]
        text, tokens = spec.prefix + subject.document.text, min(spec.max_tokens, feature.model.token_limit)
        in_one_row = spec.long.policy is not Long.WINDOW
        match feature.options:
            case ZeroShotOptions() as options if in_one_row and len(options.labels) <= MAX_ROWS:
                _zero_shot(comparison, where, found, feature, options, text, sight, tokens)
            case ChoiceOptions(format=format_):
                attached = json.loads(subject.document.pair or "{}")
                _choice(comparison, where, found, feature, format_, text, attached, sight, tokens)
            case FillMaskOptions():
                _fills(comparison, where, found[0], feature, text, sight, tokens)
            case PronounOptions():
                _pronoun(comparison, where, found[2], feature, text, sight, tokens)


def _zero_shot(
    comparison: Comparison, where: str, found: list[Any], feature: FeatureSpec, options: ZeroShotOptions,
    text: str, sight: Sight, tokens: int,
) -> None:  # fmt: skip
    from pipelines.proof.head_oracle import head_oracle

    oracle = head_oracle(feature.model, Kind.SEQUENCE)
    hypotheses = [options.hypothesis.replace("{}", label) for label in options.labels]
    if not all(sight.reads_alike(second, None) for second in hypotheses):
        return
    logits = np.stack([oracle.logits(sight.pair(text, second, tokens, "only_first")) for second in hypotheses])
    entailment = entailment_class(feature.model.labels)
    if options.each or len(options.labels) == 1:
        both = logits[:, np.array([contradiction_class(feature.model.labels), entailment], np.intp)]
        wanted = np.array([_softmax(one)[1] for one in both], np.float32)
    else:
        wanted = _softmax(logits[:, entailment])
    comparison.labels(where, found[0], np.array(found[2], np.float32), options.labels, wanted)


def _choice(
    comparison: Comparison, where: str, found: list[Any], feature: FeatureSpec, format_: ChoiceFormat,
    question: str, attached: dict[str, Any], sight: Sight, tokens: int,
) -> None:  # fmt: skip
    from pipelines.proof.head_oracle import head_oracle

    texts, context = text_list(attached.get("choices"), "choices"), attached.get("context")
    if len(texts) > MAX_ROWS:
        return
    rows = [_choice_row(format_, question, one, context, sight, tokens) for one in texts]
    if not all(rows):
        return
    oracle = head_oracle(feature.model, choice_head(feature.model)[1].kind)
    wanted = _softmax(np.concatenate([oracle.logits(ids) for ids in rows]))
    names = tuple(map(str, range(len(texts))))
    comparison.labels(where, str(found[0]), np.array(found[2], np.float32), names, wanted)


def _choice_row(
    format_: ChoiceFormat, question: str, choice: str, context: str | None, sight: Sight, tokens: int
) -> list[int]:
    """The ids of a question with a choice; none where a form of fairseq's would have to be cut."""
    if format_ is ChoiceFormat.PLAIN:
        first, second = (question, choice) if context is None else (context, f"{question} {choice}")
        return sight.pair(first, second, tokens, "longest_first")
    if format_ is ChoiceFormat.CSQA:
        ids = sight.around([*sight.bare(f"Q: {question}"), sight.end, *sight.bare(f"A: {choice}")])
        return ids if len(ids) <= tokens else []
    whole = question.replace("_", choice) if "_" in question else f"{question} {choice}"
    sides = sight.bare(whole), sight.bare((context or "").replace("\n", " "))
    ids = sight.around([*sides[0], sight.end, sight.end, *sides[1]])
    return ids if len(ids) <= tokens and len(sides[0]) + 2 <= RACE_TOKENS else []


def _fills(
    comparison: Comparison, where: str, fills: list[dict[str, Any]], feature: FeatureSpec,
    text: str, sight: Sight, tokens: int,
) -> None:  # fmt: skip
    from pipelines.proof.head_oracle import head_oracle

    before, after = (sight.bare(side.rstrip()) for side in text.split("<mask>"))
    ids = sight.around([*before, sight.mask, *after])
    if len(ids) > tokens:
        return
    at_mask = head_oracle(feature.model, Kind.LANGUAGE_MODEL).logits(ids)[1 + len(before)]
    best = np.sort(_softmax(at_mask))[::-1]
    scores = np.array([fill["score"] for fill in fills], np.float32)
    comparison.scores(where, float(np.abs(scores - best[: len(scores)]).max()))


def _pronoun(
    comparison: Comparison, where: str, candidates: list[dict[str, Any]], feature: FeatureSpec,
    marked: str, sight: Sight, tokens: int,
) -> None:  # fmt: skip
    from pipelines.proof.head_oracle import head_oracle

    if len(candidates) > MAX_ROWS:
        return
    sentence = parse_pronoun_sentence(marked)
    for candidate in candidates:
        text, begin, end = sentence.with_candidate(candidate["text"])
        ids = sight.bare(text)
        places = [n for n, (first, last, _) in enumerate(sight.places(text)) if first < end and last > begin]
        masked = [sight.mask if n in places else number for n, number in enumerate(ids)]
        if len(ids) + 1 > tokens or not places:
            return
        logits = head_oracle(feature.model, Kind.LANGUAGE_MODEL).logits([*masked, sight.end])
        logged = [float(np.log(_softmax(logits[place].astype(np.float64))[ids[place]])) for place in places]
        comparison.number(where, candidate["score"], sum(logged) / len(logged))


def _softmax(logits: Vector) -> Vector:
    powers = np.exp(logits - logits.max())
    probabilities: Vector = powers / powers.sum()
    return probabilities
