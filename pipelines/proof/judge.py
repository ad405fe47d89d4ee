"""A row of a part beside what the oracle computed of its document: feature by feature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipelines.features.columns import feature_fields
from pipelines.features.vectors import dequantize
from pipelines.proof import expected
from pipelines.proof.compare import Comparison
from pipelines.proof.expected_tokens import token_columns
from pipelines.spec import (
    AnswerOptions,
    ChoiceOptions,
    EmbeddingOptions,
    FeatureSpec,
    FillMaskOptions,
    LabelsOptions,
    MultiLabelsOptions,
    PronounOptions,
    RegressionOptions,
    SpansOptions,
    Storage,
    TokensOptions,
    WordsOptions,
    ZeroShotOptions,
)

if TYPE_CHECKING:
    from pipelines.proof.oracle import Computed

CLASSIFIES = (LabelsOptions, MultiLabelsOptions, RegressionOptions)
"""The options of features that read a classifier's head."""


def compare(
    comparison: Comparison, where: str, row: dict[str, Any], features: Sequence[FeatureSpec], rows: Sequence[Computed]
) -> None:
    """Add what the features of one model say of a document to the comparison; ``row`` by column, ``rows`` its ids'."""
    for feature in features:
        named = f"{feature.columns[0]} of {where}"
        found = [row[column] for column in feature.columns]
        match feature.options:
            case EmbeddingOptions() as options:
                wanted = expected.vector(rows, options, feature.model.path)
                if options.storage is Storage.BINARY:
                    wanted = np.where(wanted > 0, np.float32(1), np.float32(-1))
                stored = pa.Table.from_pylist([row], schema=pa.schema(feature_fields(feature)))
                vector = dequantize(stored, feature.columns[0])[0]
                comparison.embedding(named, vector, wanted, options.storage)
            case LabelsOptions():
                scores = np.array(found[2], np.float32)
                wanted = expected.probabilities(rows, each=False)
                comparison.labels(named, found[0], scores, feature.model.labels, wanted)
            case MultiLabelsOptions(thresholds=thresholds):
                scores = np.array(found[1], np.float32)
                wanted = expected.probabilities(rows, each=True)
                comparison.multi_labels(named, found[0], scores, feature.model.labels, thresholds, wanted)
            case RegressionOptions():
                comparison.number(named, found[0], expected.number(rows))
            case TokensOptions() | WordsOptions() as options:
                columns = token_columns(rows, options, row["n_used"])
                comparison.tokens(where, row["n_used"], len(columns[0]))
                for stored_vectors, tokens in zip(found[-len(columns) :], columns, strict=True):
                    if isinstance(options, WordsOptions):  # what is proved of words is that no token is lost
                        comparison.embedding(named, stored_vectors.sum(0), tokens.sum(0), options.storage)
                    elif stored_vectors.shape == tokens.shape:
                        comparison.embedding(named, stored_vectors.ravel(), tokens.ravel(), options.storage)
                    else:
                        comparison.tokens(named, len(stored_vectors), len(tokens))
            case SpansOptions() | AnswerOptions():
                pass  # pipelines.proof.stretches compares them
            case ZeroShotOptions() | ChoiceOptions() | FillMaskOptions() | PronounOptions():
                pass  # and pipelines.proof.questions these
