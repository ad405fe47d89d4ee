"""What is read off the forward passes of a run: which feature, of which model, into which columns, and its options."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipelines.spec.options import (
    AnswerOptions,
    EmbeddingOptions,
    LabelsOptions,
    MultiLabelsOptions,
    Options,
    Pooling,
    RegressionOptions,
    SpansOptions,
    TokensOptions,
    WordsOptions,
    options_from_json,
    options_to_json,
)
from pipelines.spec.question_options import ChoiceOptions, FillMaskOptions, PronounOptions, ZeroShotOptions


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A checkpoint, pinned: where it was found and the digests of what it holds.

    ``source`` is what the user named (folder or hub id), ``path`` the local folder, ``revision`` the hub commit.
    ``encoder_digest`` is over the encoder's tensors alone, so that checkpoints that share an encoder share a forward.
    ``token_limit`` is the longest input in tokens, special tokens included. ``labels`` is empty without a classifier.
    """

    source: str
    path: str
    revision: str
    model_type: str
    digest: str
    encoder_digest: str
    tokenizer_digest: str
    hidden_size: int
    token_limit: int
    labels: tuple[str, ...] = ()


class FeatureKind(StrEnum):
    """What is read off a forward pass; the columns of each are in :mod:`pipelines.features.columns`."""

    EMBEDDING = "embedding"
    LABELS = "labels"
    MULTI_LABELS = "multi_labels"
    REGRESSION = "regression"
    TOKENS = "tokens"
    WORDS = "words"
    SPANS = "spans"
    ANSWER = "answer"
    ZERO_SHOT = "zero_shot"
    CHOICE = "choice"
    FILL_MASK = "fill_mask"
    PRONOUN = "pronoun"


OPTIONS: Mapping[FeatureKind, type[Options]] = {
    FeatureKind.EMBEDDING: EmbeddingOptions,
    FeatureKind.LABELS: LabelsOptions,
    FeatureKind.MULTI_LABELS: MultiLabelsOptions,
    FeatureKind.REGRESSION: RegressionOptions,
    FeatureKind.TOKENS: TokensOptions,
    FeatureKind.WORDS: WordsOptions,
    FeatureKind.SPANS: SpansOptions,
    FeatureKind.ANSWER: AnswerOptions,
    FeatureKind.ZERO_SHOT: ZeroShotOptions,
    FeatureKind.CHOICE: ChoiceOptions,
    FeatureKind.FILL_MASK: FillMaskOptions,
    FeatureKind.PRONOUN: PronounOptions,
}
"""The options of each kind of feature."""


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """One feature of a run. ``columns`` are the dataset columns it fills, fixed at open; ``options`` fit its kind."""

    kind: FeatureKind
    model: ModelRef
    columns: tuple[str, ...]
    options: Options

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of what the feature chooses from, in the order of its scores; none where it chooses nothing."""
        match self.options:
            case LabelsOptions() | MultiLabelsOptions():
                return self.model.labels
            case ZeroShotOptions(labels=labels) | SpansOptions(labels=labels):
                return labels
        return ()

    def __post_init__(self) -> None:
        if not isinstance(self.options, OPTIONS[self.kind]):
            raise TypeError(f"a feature of kind {self.kind} has {type(self.options).__name__}")


def embedding_feature(model: ModelRef, options: EmbeddingOptions | Pooling, *, name: str | None = None) -> FeatureSpec:
    """An embedding; its column is ``embedding``, or ``embedding_NAME``; stored as int8 it has its scale beside it."""
    if isinstance(options, Pooling):
        options = EmbeddingOptions(options)
    column = f"embedding_{name}" if name else "embedding"
    columns = (column, f"{column}_scale") if options.storage.has_scale else (column,)
    return FeatureSpec(FeatureKind.EMBEDDING, model, columns, options)


def labels_feature(model: ModelRef, name: str | None, options: LabelsOptions | None = None) -> FeatureSpec:
    """A classifier's label, its score and all scores; columns are prefixed with the classifier's name if it has one."""
    options = options or LabelsOptions()
    columns = ["label", "score", "scores"] + ["top_labels", "top_scores"] * bool(options.top_k)
    return FeatureSpec(FeatureKind.LABELS, model, prefixed(name, *columns), options)


def multi_labels_feature(model: ModelRef, name: str | None, options: MultiLabelsOptions) -> FeatureSpec:
    """A multi-label classifier's labels above their thresholds, and the probability of each class by itself."""
    return FeatureSpec(FeatureKind.MULTI_LABELS, model, prefixed(name, "labels", "scores"), options)


def regression_feature(model: ModelRef, name: str | None) -> FeatureSpec:
    """What a regression head says, as it stands."""
    return FeatureSpec(FeatureKind.REGRESSION, model, prefixed(name, "value"), RegressionOptions())


def prefixed(name: str | None, *columns: str) -> tuple[str, ...]:
    """Columns of a feature with a name: ``NAME_column``; as they stand without one."""
    return tuple(f"{name}_{column}" if name else column for column in columns)


def feature_to_json(feature: FeatureSpec) -> dict[str, Any]:
    """A feature as JSON-ready values; what stands at its default is left out, so that new options change no digest."""
    options = options_to_json(feature.options)
    pooling = options.pop("pooling", None)
    if isinstance(feature.options, EmbeddingOptions):
        pooling = str(feature.options.pooling)
    document: dict[str, Any] = {
        "kind": str(feature.kind),
        "model": dataclasses.asdict(feature.model),
        "columns": list(feature.columns),
        "pooling": pooling,  # beside the options, for it is older than they are
    }
    return document | ({"options": options} if options else {})


def feature_from_json(document: Mapping[str, Any]) -> FeatureSpec:
    """The way back. Raises KeyError, TypeError or ValueError where it is something else."""
    kind = FeatureKind(document["kind"])
    options = dict(document.get("options", {}))
    if document["pooling"] is not None:
        options["pooling"] = document["pooling"]
    return FeatureSpec(
        kind, model_from_json(document["model"]), tuple(document["columns"]), options_from_json(OPTIONS[kind], options)
    )


def model_from_json(document: Mapping[str, Any]) -> ModelRef:
    """A pinned checkpoint from its JSON-ready values."""
    return ModelRef(**{**document, "labels": tuple(document["labels"])})
