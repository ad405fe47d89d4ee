"""``--zero-shot LABEL,LABEL,…``: labels that are judged by an NLI classifier, from a hypothesis about each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import InputError, UsageError
from pipelines.readings.joined_ids import bare_ids
from pipelines.readings.zero_shot import PLACE, hypotheses_of
from pipelines.roberta.checkpoint import CONFIG_FILE, find
from pipelines.roberta.config import parse_config, read_json
from pipelines.roberta.heads import Kind
from pipelines.roberta.needed_head import needed_head
from pipelines.roberta.nli import contradiction_class, entailment_class
from pipelines.roberta.tokenizer import Tokenizer
from pipelines.spec import FeatureSpec, Long, LongTexts, ModelRef, ZeroShotOptions, zero_shot_feature
from pipelines.spec.question_options import HYPOTHESIS


@dataclass(frozen=True, slots=True)
class AskedZeroShot:
    """Items of ``labels`` are labels, or several with commas between; ``nli`` None is the run's own model."""

    labels: tuple[str, ...] = ()
    hypothesis: str | None = None
    each: bool = False
    nli: str | None = None


def zero_shot_features(asked: AskedZeroShot, model: ModelRef, *, pairs: bool) -> tuple[FeatureSpec, ...]:
    """The zero-shot labels of a run. Raises UsageError for a contradiction, InputError for a model that was not trained
    to tell entailment, naming what it has.
    """
    if not asked.labels:
        if asked != AskedZeroShot():
            raise UsageError(
                "--hypothesis, --each and --nli are about labels, of which there are none.", "Add --zero-shot."
            )
        return ()
    if pairs:
        raise UsageError(
            "--zero-shot cannot be had with --pair-column: the second sentence is the hypothesis.",
            "Leave --pair-column out.",
        )
    labels = _labels(asked.labels)
    hypothesis = HYPOTHESIS if asked.hypothesis is None else asked.hypothesis
    if PLACE not in hypothesis:
        raise UsageError(
            f"--hypothesis {hypothesis!r} has no {PLACE} where the label is to be.", f"Wanted {HYPOTHESIS!r}."
        )
    judge = model if asked.nli in (None, "self") else find(asked.nli)
    needed_head(judge, Kind.SEQUENCE)
    if entailment_class(judge.labels) is None:
        raise InputError(
            f"{judge.source} has no label of entailment, it has {', '.join(judge.labels) or 'none at all'}.",
            "Name a model that was fine-tuned on NLI: --nli MODEL.",
        )
    if (asked.each or len(labels) == 1) and contradiction_class(judge.labels) is None:
        raise InputError(
            f"{judge.source} has no label of contradiction to weigh each label by, it has {', '.join(judge.labels)}.",
            "Give several labels, without --each.",
        )
    return (zero_shot_feature(judge, ZeroShotOptions(labels, hypothesis, asked.each)),)


def check_room(features: Sequence[FeatureSpec], max_tokens: int, long: LongTexts) -> None:
    """Raises UsageError where a hypothesis leaves no room for a text, or windows of it nowhere to go."""
    for feature in features:
        if isinstance(feature.options, ZeroShotOptions):
            longest, special = _longest(feature, feature.options)
            room = max_tokens - special - longest
            if room < 1:
                raise UsageError(
                    f"--max-tokens {max_tokens} leaves no room for text beside a hypothesis of {longest} tokens"
                    f" and {special} special ones.",
                    f"Use at least {special + longest + 1}, or shorter labels.",
                )
            if long.policy is Long.WINDOW and long.stride >= room:
                raise UsageError(
                    f"--stride {long.stride} leaves windows of {room} tokens beside their hypothesis nowhere to go.",
                    f"Use less than {room}.",
                )


def _labels(asked: Sequence[str]) -> tuple[str, ...]:
    labels = tuple(label.strip() for item in asked for label in item.split(","))
    if not all(labels):
        raise UsageError("--zero-shot has a label of nothing but blanks.", "Wanted LABEL,LABEL,….")
    doubled = next((label for label in labels if labels.count(label) > 1), None)
    if doubled is not None:
        raise UsageError(f"--zero-shot has the label {doubled!r} twice.", "Give it once.")
    return labels


def _longest(feature: FeatureSpec, options: ZeroShotOptions) -> tuple[int, int]:
    """The tokens of the longest hypothesis, and the special ones around a pair."""
    folder = Path(feature.model.path)
    config = parse_config(read_json(folder / CONFIG_FILE), feature.model.path)
    tokenizer = Tokenizer(folder, config.model_type, config.vocab_size)
    hypotheses = bare_ids(tokenizer, hypotheses_of(options.hypothesis, options.labels))
    return max(map(len, hypotheses)), sum(map(len, tokenizer.around))
