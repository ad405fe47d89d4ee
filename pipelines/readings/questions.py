"""How documents are read for the features that ask a model something about each."""

from __future__ import annotations

from pipelines.errors import InputError
from pipelines.readings.choices import ChoiceReading
from pipelines.readings.inputs import Reading
from pipelines.readings.masks import MaskReading
from pipelines.readings.pronouns import PronounReading
from pipelines.readings.zero_shot import ZeroShotReading, hypotheses_of
from pipelines.roberta.pieces import Pieces
from pipelines.roberta.tokenizer import Tokenizer
from pipelines.spec import (
    ChoiceOptions,
    FeatureSpec,
    FillMaskOptions,
    ModelRef,
    PronounOptions,
    RunSpec,
    ZeroShotOptions,
)


def question_reading(spec: RunSpec, feature: FeatureSpec, tokenizer: Tokenizer) -> Reading | None:
    """The reading of such a feature, None for any other. Raises InputError where a mask is needed and there is none."""
    tokens, prefix, long = min(spec.max_tokens, feature.model.token_limit), spec.prefix, spec.long
    match feature.options:
        case ZeroShotOptions(labels=labels, hypothesis=hypothesis):
            return ZeroShotReading(tokenizer, tokens, prefix, long, hypotheses_of(hypothesis, labels))
        case ChoiceOptions(format=format_):
            return ChoiceReading(tokenizer, tokens, prefix, long.policy, format_)
        case FillMaskOptions():
            return MaskReading(tokenizer, tokens, prefix, long.policy, mask_of(feature.model, Pieces(tokenizer)))
        case PronounOptions(find=find):
            pieces = Pieces(tokenizer)
            mask = mask_of(feature.model, pieces)
            return PronounReading(tokenizer, pieces, tokens, prefix, long.policy, mask, find)
    return None


def mask_of(model: ModelRef, pieces: Pieces) -> int:
    """The id of ``<mask>``. Raises InputError where the tokenizer has none."""
    if pieces.mask is None:
        raise InputError(f"{model.source} has no <mask> in its tokenizer.", "Name a model that has.")
    return pieces.mask
