"""Features that share an encoder, and read documents alike, share a forward pass."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch

from pipelines.features.answers import Answers
from pipelines.features.choice import Choice
from pipelines.features.embedding import Embedding
from pipelines.features.fetch import Fetch
from pipelines.features.fills import Fills
from pipelines.features.labels import Labels
from pipelines.features.multi_labels import MultiLabels
from pipelines.features.pronouns import Pronouns
from pipelines.features.protocol import Feature
from pipelines.features.regression import Regression
from pipelines.features.spans import TokenSpans
from pipelines.features.tokens import Tokens
from pipelines.features.words import Words
from pipelines.features.zero_shot import ZeroShot
from pipelines.readings.contexts import ContextReading
from pipelines.readings.inputs import Ids, Reading
from pipelines.readings.questions import question_reading
from pipelines.readings.texts import ALL_TOKENS, TextReading
from pipelines.roberta.encoder import Encoder
from pipelines.roberta.pieces import Pieces
from pipelines.roberta.states import Needs
from pipelines.roberta.tokenizer import Tokenizer
from pipelines.spec import AnswerOptions, FeatureKind, FeatureSpec, ModelRef, RunSpec


class SharedForward:
    """An encoder, a way to read documents for it, and every feature of a run that is read off the outcome."""

    def __init__(self, model: ModelRef, encoder: Encoder, reading: Reading, features: Sequence[Feature]) -> None:
        self.model = model
        self.encoder = encoder
        self.reading = reading
        self.features = tuple(features)
        self._needs = Needs.union(feature.needs for feature in features)

    def compute(self, rows: Sequence[Ids], notes: Sequence[Any]) -> Fetch:
        """One forward pass over a micro-batch: what each feature keeps of it, in the order of ``rows``.

        A CPU has computed it when this returns. CUDA has not, and what it fails with may be raised by the fetch.
        """
        with torch.inference_mode():
            states = self.encoder.forward(rows, needs=self._needs)
            return Fetch([feature.compute(states, notes) for feature in self.features])


def load_features(spec: RunSpec, device: torch.device, tokenizers: Mapping[str, Tokenizer]) -> list[SharedForward]:
    """Load what a run's features need, each encoder once. Features keep their order within each forward pass.

    ``tokenizers`` are by digest. Raises InputError where a model cannot be read, SurroundingsError where it does not
    fit into the device's memory.
    """
    encoders: dict[str, Encoder] = {}
    groups: dict[Hashable, list[tuple[Reading, FeatureSpec]]] = {}
    for feature in spec.features:
        reading = reading_of(spec, feature, tokenizers[feature.model.tokenizer_digest])
        key = (feature.model.encoder_digest, feature.model.tokenizer_digest, reading.key)
        groups.setdefault(key, []).append((reading, feature))
    forwards = []
    for members in groups.values():
        model = members[0][1].model
        if model.encoder_digest not in encoders:
            encoder = Encoder.load(model, device, spec.dtype, batch_invariant=spec.batch_invariant)
            encoders[model.encoder_digest] = encoder
        features = [
            load_feature(
                member, device, tokenizers[member.model.tokenizer_digest], batch_invariant=spec.batch_invariant
            )
            for _, member in members
        ]
        forwards.append(SharedForward(model, encoders[model.encoder_digest], members[0][0], features))
    return forwards


def reading_of(spec: RunSpec, feature: FeatureSpec, tokenizer: Tokenizer) -> Reading:
    """How a feature's model reads documents."""
    if isinstance(feature.options, AnswerOptions):
        tokens = min(spec.max_tokens, feature.model.token_limit)
        return ContextReading(tokenizer, Pieces(tokenizer), tokens, feature.options.stride, spec.prefix)
    return question_reading(spec, feature, tokenizer) or text_reading(spec, feature.model, tokenizer)


def text_reading(spec: RunSpec, model: ModelRef, tokenizer: Tokenizer) -> TextReading:
    """How a model reads texts as they are."""
    most = spec.max_document_tokens or ALL_TOKENS
    tokens, pairs = min(spec.max_tokens, model.token_limit), not spec.corpus.attached
    return TextReading(tokenizer, tokens, spec.prefix, spec.long, most, pairs)


def load_feature(spec: FeatureSpec, device: torch.device, tokenizer: Tokenizer, *, batch_invariant: bool) -> Feature:
    """The feature that a spec asks for, with its weights if it has any."""
    match spec.kind:
        case FeatureKind.EMBEDDING:
            return Embedding(spec)
        case FeatureKind.LABELS:
            return Labels(spec, device, batch_invariant=batch_invariant)
        case FeatureKind.MULTI_LABELS:
            return MultiLabels(spec, device, batch_invariant=batch_invariant)
        case FeatureKind.REGRESSION:
            return Regression(spec, device, batch_invariant=batch_invariant)
        case FeatureKind.TOKENS:
            return Tokens(spec, tokenizer)
        case FeatureKind.WORDS:
            return Words(spec, tokenizer)
        case FeatureKind.SPANS:
            return TokenSpans(spec, tokenizer, device, batch_invariant=batch_invariant)
        case FeatureKind.ANSWER:
            return Answers(spec, device, batch_invariant=batch_invariant)
        case FeatureKind.ZERO_SHOT:
            return ZeroShot(spec, device, batch_invariant=batch_invariant)
        case FeatureKind.CHOICE:
            return Choice(spec, device, batch_invariant=batch_invariant)
        case FeatureKind.FILL_MASK:
            return Fills(spec, device, tokenizer, batch_invariant=batch_invariant)
        case FeatureKind.PRONOUN:
            return Pronouns(spec, device, batch_invariant=batch_invariant)
