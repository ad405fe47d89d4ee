"""Spans and answers of a part beside what the oracle makes of the same document."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import safe_open

from pipelines.proof.compare import Comparison, Vector
from pipelines.proof.expected_answers import compare_answer
from pipelines.proof.expected_spans import compare_spans, token_probabilities
from pipelines.proof.subjects import Subject
from pipelines.roberta.heads import Kind
from pipelines.roberta.needed_head import needed_head
from pipelines.spec import AnswerOptions, FeatureSpec, ModelRef, RunSpec, SpansOptions

if TYPE_CHECKING:
    from pipelines.proof.oracle import Computed, Oracle, Sight

MAX_WINDOWS = 16
"""Of a question with a longer context nothing is proved: it would take too long."""


def compare_stretches(
    comparison: Comparison,
    subject: Subject,
    features: Sequence[FeatureSpec],
    rows: Sequence[Computed],
    spec: RunSpec,
    sight: Sight,
    oracle: Oracle,
) -> None:
    """Add what the spans and answers among the features of one model say of a document; ``rows`` are its text's."""
    document = subject.document
    for feature in features:
        where = f"{feature.columns[0]} of {subject.where}"
        found = [subject.row[column] for column in feature.columns]
        text = spec.prefix + document.text
        if isinstance(feature.options, SpansOptions):
            places = sight.places(text)
            tokens = rows[0].tokens - 2 if len(rows) == 1 else len(places)
            probabilities = token_probabilities(rows, *_head(feature.model, Kind.TOKENS), tokens)
            prefix = len(spec.prefix)
            compare_spans(comparison, where, found[0], feature.options, probabilities, text, places, prefix)
        elif isinstance(feature.options, AnswerOptions) and document.pair:
            tokens = min(spec.max_tokens, feature.model.token_limit)
            windows = sight.windows(text, document.pair, tokens, feature.options.stride)
            if len(windows) <= MAX_WINDOWS:
                weight, bias = _head(feature.model, Kind.ANSWERS)
                logits = [oracle.compute(window.ids).hidden[-1] @ weight.T + bias for window in windows]
                answer = (found[0], found[1], found[4])
                compare_answer(comparison, where, answer, feature.options, windows, logits, document.pair)


def _head(model: ModelRef, kind: Kind) -> tuple[Vector, Vector]:
    """Weight and bias of a head of one product, in float32."""
    values = {}
    for name, tensor in needed_head(model, kind).tensors.items():
        with safe_open(Path(tensor.file), framework="pt") as stored:
            values[name.rpartition(".")[2]] = stored.get_tensor(tensor.name).float().numpy()
    return values["weight"], values["bias"]
