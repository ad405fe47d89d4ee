"""The dataset columns of every feature, known from its spec alone: no model is loaded, no torch imported."""

from __future__ import annotations

import pyarrow as pa

from pipelines.features.vectors import vector_fields, vector_list_type
from pipelines.spec import (
    AnswerOptions,
    EmbeddingOptions,
    FeatureSpec,
    LabelsOptions,
    MultiLabelsOptions,
    RegressionOptions,
    SpansOptions,
    Storage,
    TokensOptions,
    WordsOptions,
)

_SPAN = pa.struct(
    [
        pa.field("label", pa.string()),
        pa.field("score", pa.float32()),
        pa.field("begin", pa.int32()),
        pa.field("end", pa.int32()),
        pa.field("text", pa.string()),
    ]
)


def feature_fields(spec: FeatureSpec) -> list[pa.Field]:
    """The Arrow fields of a feature's columns, named as ``spec.columns`` says."""
    classes = len(spec.model.labels)
    match spec.options:
        case EmbeddingOptions(dimensions=dimensions, storage=storage):
            return vector_fields(spec.columns[0], dimensions or spec.model.hidden_size, storage)
        case LabelsOptions():
            label, score, scores, *top = spec.columns
            return [
                pa.field(label, pa.string()),
                pa.field(score, pa.float32()),
                *vector_fields(scores, classes, Storage.FLOAT32),
                *(pa.field(name, pa.list_(kind)) for name, kind in zip(top, (pa.string(), pa.float32()), strict=False)),
            ]
        case MultiLabelsOptions():
            labels, scores = spec.columns
            return [pa.field(labels, pa.list_(pa.string())), *vector_fields(scores, classes, Storage.FLOAT32)]
        case RegressionOptions():
            return [pa.field(name, pa.float32()) for name in spec.columns]
        case SpansOptions():
            return [pa.field(spec.columns[0], pa.list_(_SPAN))]
        case AnswerOptions():
            kinds = (pa.string(), pa.float32(), pa.int32(), pa.int32(), pa.float32())
            return [pa.field(name, kind) for name, kind in zip(spec.columns, kinds, strict=True)]
        case TokensOptions(storage=storage):
            return _token_fields(spec, (pa.string(), pa.int32(), pa.int32(), pa.int32()), storage)
        case WordsOptions(storage=storage):
            return _token_fields(spec, (pa.string(), pa.int32(), pa.int32()), storage)


def _token_fields(spec: FeatureSpec, kinds: tuple[pa.DataType, ...], storage: Storage) -> list[pa.Field]:
    """Lists of one value for each token, of these kinds; behind them lists of vectors."""
    types = [pa.list_(kind) for kind in kinds]
    types += [vector_list_type(spec.model.hidden_size, storage)] * (len(spec.columns) - len(kinds))
    return [pa.field(name, kind) for name, kind in zip(spec.columns, types, strict=True)]
