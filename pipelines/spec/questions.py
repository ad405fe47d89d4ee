"""Features that ask a model something about each document, with their columns."""

from __future__ import annotations

from pipelines.spec.features import FeatureKind, FeatureSpec, ModelRef
from pipelines.spec.question_options import ChoiceOptions, FillMaskOptions, PronounOptions, ZeroShotOptions


def zero_shot_feature(model: ModelRef, options: ZeroShotOptions) -> FeatureSpec:
    """The label that a document entails most, its score, and all scores."""
    columns = ("zero_shot_label", "zero_shot_score", "zero_shot_scores")
    return FeatureSpec(FeatureKind.ZERO_SHOT, model, columns, options)


def choice_feature(model: ModelRef, options: ChoiceOptions) -> FeatureSpec:
    """The best choice's number and text, and the scores of all."""
    return FeatureSpec(FeatureKind.CHOICE, model, ("choice", "choice_text", "choice_scores"), options)


def fill_mask_feature(model: ModelRef, options: FillMaskOptions) -> FeatureSpec:
    """The tokens that fit the mask best."""
    return FeatureSpec(FeatureKind.FILL_MASK, model, ("fills",), options)


def pronoun_feature(model: ModelRef, options: PronounOptions) -> FeatureSpec:
    """What the pronoun is, whether it is what was asked, and the scores of the candidates."""
    columns = ("pronoun_answer", "pronoun_correct", "pronoun_candidates")
    return FeatureSpec(FeatureKind.PRONOUN, model, columns, options)
