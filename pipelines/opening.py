"""What a person asks for becomes a spec: the corpus is listed, the models are found, every contradiction is refused.

Loads no torch: models are read as files.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.corpus import CorpusOptions, discover
from pipelines.errors import InputError, UsageError
from pipelines.roberta.checkpoint import find
from pipelines.spec import (
    Dtype,
    FeatureSpec,
    ModelRef,
    Pooling,
    RunSpec,
    embedding_feature,
    labels_feature,
)

DEFAULT_MAX_TOKENS = 512
SPECIAL_TOKENS, SPECIAL_TOKENS_OF_PAIRS = 2, 4
"""``<s> A </s>`` and ``<s> A </s></s> B </s>``: so do all RoBERTa, XLM-RoBERTa and CamemBERT checkpoints."""
_CLASSIFIER_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Request:
    """What a run was asked for. ``classify`` items are ``self``, MODEL or NAME=MODEL; None means: the default."""

    arguments: tuple[str, ...]
    corpus: CorpusOptions
    model: str
    dtype: Dtype
    batch_documents: int
    embed: tuple[Pooling, ...] = ()
    classify: tuple[str, ...] = ()
    max_tokens: int | None = None
    prefix: str = ""
    batch_invariant: bool = False


def make_spec(request: Request) -> RunSpec:
    """The spec of a request.

    Raises UsageError for a contradiction, InputError where the corpus or a model is not as asked for.
    """
    if request.dtype is Dtype.AUTO:
        raise ValueError("dtype auto must be resolved before a spec is made; this is a bug")
    if request.batch_invariant and request.dtype is Dtype.INT8:
        raise UsageError(
            "--batch-invariant cannot be had in int8, whose scales are those of a micro-batch.",
            "Use --dtype float32 or bfloat16.",
        )
    model = find(request.model)
    features = _features(request, model)
    spec = RunSpec(
        corpus=discover(request.arguments, request.corpus),
        model=model,
        features=features,
        max_tokens=_max_tokens(
            request.max_tokens,
            [model, *(feature.model for feature in features)],
            pairs=request.corpus.pair_column is not None,
        ),
        dtype=request.dtype,
        batch_documents=request.batch_documents,
        prefix=request.prefix,
        batch_invariant=request.batch_invariant,
    )
    _refuse_colliding_columns(spec)
    return spec


def _features(request: Request, model: ModelRef) -> tuple[FeatureSpec, ...]:
    embed = tuple(dict.fromkeys(request.embed))
    if not embed and not request.classify:
        embed = (Pooling.MEAN,)
    features = [embedding_feature(model, pooling, alone=len(embed) == 1) for pooling in embed]
    names: list[str | None] = []
    for asked in request.classify:
        name, source = _split_classifier(asked)
        if name in names:
            what = f"Two classifiers are named {name!r}" if name else "Two classifiers have no name"
            raise UsageError(f"{what}; their columns would collide.", "Name them: --classify NAME=MODEL.")
        names.append(name)
        classifier = model if source == "self" else find(source)
        if not classifier.labels:
            raise InputError(
                f"{classifier.source} has no classifier, it is an encoder of type {classifier.model_type} only.",
                "Name a fine-tuned checkpoint: --classify MODEL.",
            )
        features.append(labels_feature(classifier, name))
    return tuple(features)


def _split_classifier(asked: str) -> tuple[str | None, str]:
    """Name (or None) and model of a --classify value."""
    name, equals, source = asked.partition("=")
    if not equals or "/" in name:
        return None, asked
    if not _CLASSIFIER_NAME.fullmatch(name):
        raise UsageError(
            f"--classify {asked}: {name!r} is no name for columns.",
            "Wanted: a letter, then letters, digits and underscores, all lower case.",
        )
    if not source:
        raise UsageError(f"--classify {asked} names no model.", "Write NAME=MODEL, or NAME=self.")
    return name, source


def _max_tokens(asked: int | None, models: Sequence[ModelRef], *, pairs: bool) -> int:
    tightest = min(models, key=lambda model: model.token_limit)
    if asked is None:
        return min(DEFAULT_MAX_TOKENS, tightest.token_limit)
    if asked > tightest.token_limit:
        raise UsageError(
            f"--max-tokens {asked} is more than the {tightest.token_limit} that {tightest.source} can take.",
            f"Use at most {tightest.token_limit}.",
        )
    special = SPECIAL_TOKENS_OF_PAIRS if pairs else SPECIAL_TOKENS
    if asked <= special:
        raise UsageError(
            f"--max-tokens {asked} leaves no room for text: {special} are special tokens"
            f"{' around each pair' if pairs else ''}.",
            f"Use at least {special + 1}.",
        )
    return asked


def _refuse_colliding_columns(spec: RunSpec) -> None:
    doubled = [name for name, count in Counter(spec.column_names).items() if count > 1]
    if doubled:
        raise UsageError(
            f"The dataset would have {doubled[0]!r} more than once (columns: {', '.join(spec.column_names)}).",
            "Give kept columns another name: --keep COLUMN=NAME.",
        )
