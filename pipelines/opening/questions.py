"""What a run asks about each document: zero-shot labels, choices, masks, pronouns."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.corpus import CorpusOptions
from pipelines.opening.choices import AskedChoice, choice_features
from pipelines.opening.masks import fill_mask_features, pronoun_features
from pipelines.opening.zero_shot import AskedZeroShot, zero_shot_features
from pipelines.spec import FeatureSpec, Long, ModelRef


@dataclass(frozen=True, slots=True)
class AskedQuestions:
    """Nothing is asked by default; ``fill_mask`` is how many tokens are wanted."""

    zero_shot: AskedZeroShot = field(default_factory=AskedZeroShot)
    choice: AskedChoice = field(default_factory=AskedChoice)
    fill_mask: int = 0
    disambiguate: bool = False

    @property
    def any(self) -> bool:
        """Whether a feature is asked for."""
        return bool(self.zero_shot.labels or self.choice.model or self.fill_mask or self.disambiguate)


def question_features(
    asked: AskedQuestions, model: ModelRef, corpus: CorpusOptions, long: Long
) -> tuple[FeatureSpec, ...]:
    """The features of what is asked. Raises UsageError for a contradiction, InputError for a model that cannot answer,
    naming what it has.
    """
    pairs = corpus.pair_column is not None
    attached = frozenset(one.role for one in corpus.attached)
    return (
        *zero_shot_features(asked.zero_shot, model, pairs=pairs),
        *choice_features(asked.choice, model, attached, long),
        *fill_mask_features(asked.fill_mask, model, pairs=pairs),
        *pronoun_features(asked.disambiguate, model, attached, pairs=pairs),
    )
