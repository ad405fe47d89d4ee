"""``--tokens LAYERS`` and ``--words split|blanks[@LAYERS]``: a vector for each token, for each word."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.errors import UsageError
from pipelines.opening.embeddings import VectorForm
from pipelines.opening.layers import LAYERS_GRAMMAR, parse_layers, stored_layer
from pipelines.spec import (
    FeatureSpec,
    ModelRef,
    TokensOptions,
    WordsOptions,
    WordSource,
    tokens_feature,
    words_feature,
)

LAST = "last"
TOKENS_GRAMMAR = f"{LAST}, {LAYERS_GRAMMAR}"
WORDS_GRAMMAR = f"split|blanks[@LAYERS], LAYERS being {TOKENS_GRAMMAR}"


@dataclass(frozen=True, slots=True)
class TokenVectors:
    """What was asked for of each token, as it was written; None where nothing was."""

    tokens: str | None = None
    words: str | None = None

    @property
    def option(self) -> str | None:
        """The first option that asks for some."""
        return "--tokens" if self.tokens is not None else "--words" if self.words is not None else None


def token_features(
    asked: TokenVectors, model: ModelRef, form: VectorForm, *, layers: int, pairs: bool
) -> tuple[FeatureSpec, ...]:
    """The token features of a run, for an encoder of so many ``layers``. Raises UsageError for what cannot be had."""
    if asked == TokenVectors():
        return ()
    if pairs:
        raise UsageError(
            f"{asked.option} cannot be had with --pair-column: its characters are those of one text.",
            "Make a run of its own for it, without --pair-column.",
        )
    features = []
    if asked.tokens is not None:
        numbers, weights, each = _layers(asked.tokens, f"--tokens {asked.tokens}", TOKENS_GRAMMAR, layers)
        features.append(tokens_feature(model, TokensOptions(numbers, weights, each, form.storage), layers=layers))
    if asked.words is not None:
        source, at, of = asked.words.partition("@")
        if source not in list(WordSource):
            raise UsageError(f"--words {asked.words}: there are no such words.", f"Wanted {WORDS_GRAMMAR}.")
        numbers, weights, each = _layers(of if at else LAST, f"--words {asked.words}", WORDS_GRAMMAR, layers)
        options = WordsOptions(WordSource(source), numbers, weights, each, form.storage)
        features.append(words_feature(model, options, layers=layers))
    return tuple(features)


def _layers(of: str, asked: str, grammar: str, layers: int) -> tuple[tuple[int, ...], tuple[float, ...], bool]:
    """Hidden states as a spec has them, their weights, and whether each has a column of its own."""
    if of == LAST:
        return (-1,), (), False
    each = of == "all"
    numbers, weights = (tuple(range(layers + 1)), ()) if each else parse_layers(of, asked, grammar, layers=layers)
    return tuple(stored_layer(number, layers) for number in numbers), weights, each
