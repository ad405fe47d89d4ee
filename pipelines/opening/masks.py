"""``--fill-mask K`` and ``--disambiguate``: what a language model head is asked about the documents."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from pipelines.errors import InputError, UsageError
from pipelines.readings.noun_phrases import MODEL
from pipelines.readings.questions import mask_of
from pipelines.roberta.checkpoint import CONFIG_FILE
from pipelines.roberta.config import parse_config, read_json
from pipelines.roberta.heads import Kind
from pipelines.roberta.needed_head import needed_head
from pipelines.roberta.pieces import Pieces
from pipelines.roberta.tokenizer import Tokenizer
from pipelines.spec import (
    FeatureSpec,
    FillMaskOptions,
    ModelRef,
    PronounOptions,
    Role,
    fill_mask_feature,
    pronoun_feature,
)


def fill_mask_features(count: int, model: ModelRef, *, pairs: bool) -> tuple[FeatureSpec, ...]:
    """The fills of a run; none for 0. Raises UsageError for a contradiction, InputError for a model without a language
    model head or a mask.
    """
    if not count:
        return ()
    if pairs:
        raise UsageError("--fill-mask cannot be had with --pair-column: the mask is in one text.", "Leave one out.")
    config = _check(model)
    if count > config:
        raise UsageError(
            f"--fill-mask {count} is more than the {config:,} tokens that {model.source} knows.",
            f"Use at most {config}.",
        )
    return (fill_mask_feature(model, FillMaskOptions(count)),)


def pronoun_features(
    asked: bool, model: ModelRef, attached: frozenset[Role], *, pairs: bool
) -> tuple[FeatureSpec, ...]:
    """The pronouns of a run. Raises as :func:`fill_mask_features`, and InputError where candidates are to be found and
    what finds them is not installed.
    """
    given = Role.CANDIDATES in attached
    if not asked:
        if given:
            raise UsageError("--candidates-column is about pronouns.", "Add --disambiguate.")
        return ()
    if pairs:
        raise UsageError(
            "--disambiguate cannot be had with --pair-column: the pronoun is in one text.", "Leave one out."
        )
    _check(model)
    if not given and importlib.util.find_spec(MODEL) is None:
        raise InputError(
            f"--disambiguate has no candidates, and {MODEL}, the model of spaCy that finds some, is not installed.",
            "Name their column with --candidates-column, or install it where the workers are: "
            f"pip install spacy && python -m spacy download {MODEL}",
        )
    return (pronoun_feature(model, PronounOptions(find=not given)),)


def _check(model: ModelRef) -> int:
    """The size of a masked language model's vocabulary. Raises InputError where it is none."""
    needed_head(model, Kind.LANGUAGE_MODEL)
    folder = Path(model.path)
    config = parse_config(read_json(folder / CONFIG_FILE), model.path)
    mask_of(model, Pieces(Tokenizer(folder, config.model_type, config.vocab_size)))
    return config.vocab_size
