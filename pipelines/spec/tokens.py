"""Features with a vector for each token or word: their columns, and how much they are."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.spec.features import FeatureKind, FeatureSpec, ModelRef
from pipelines.spec.options import Aggregation, SpansOptions, TokensOptions, WordsOptions


def tokens_feature(model: ModelRef, options: TokensOptions, *, layers: int) -> FeatureSpec:
    """The tokens of each document with their vectors, of an encoder with so many ``layers``."""
    columns = ("tokens", "token_ids", "token_begins", "token_ends", *_vectors("token_vectors", options, layers))
    return FeatureSpec(FeatureKind.TOKENS, model, columns, options)


def words_feature(model: ModelRef, options: WordsOptions, *, layers: int) -> FeatureSpec:
    """The words of each document with their vectors, of an encoder with so many ``layers``."""
    columns = ("words", "word_begins", "word_ends", *_vectors("word_vectors", options, layers))
    return FeatureSpec(FeatureKind.WORDS, model, columns, options)


def token_vector_bytes(features: Sequence[FeatureSpec]) -> int:
    """What all features together keep of one token, as float32, until a batch is done."""
    total = 0
    for feature in features:
        if isinstance(feature.options, TokensOptions | WordsOptions):
            width = feature.model.hidden_size * 4
            total += width * (len(feature.options.layers) if feature.options.each else 1)
        elif isinstance(feature.options, SpansOptions) and feature.options.aggregation is Aggregation.AVERAGE:
            total += len(feature.options.labels) * 4
    return total


def _vectors(stem: str, options: TokensOptions | WordsOptions, layers: int) -> tuple[str, ...]:
    """The columns of vectors: one, or with ``each`` one of every layer, named after its number."""
    if not options.each:
        return (stem,)
    return tuple(f"{stem}_{layers if number == -1 else number}" for number in options.layers)
