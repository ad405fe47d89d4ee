"""The dataset columns of every feature, known from its spec alone: no model is loaded, no torch imported."""

from __future__ import annotations

import pyarrow as pa

from pipelines.features.vectors import vector_fields, vector_list_type
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

_FILL = pa.struct([pa.field("token", pa.string()), pa.field("score", pa.float32()), pa.field("text", pa.string())])
_CANDIDATE = pa.struct([pa.field("text", pa.string()), pa.field("score", pa.float32())])
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
        case EmbeddingOptions() as options:
            return vector_fields(spec.columns[0], options.width(spec.model.hidden_size), options.storage)
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
        case ZeroShotOptions(labels=names):
            label, score, scores = spec.columns
            fields = [pa.field(label, pa.string()), pa.field(score, pa.float32())]
            return [*fields, *vector_fields(scores, len(names), Storage.FLOAT32)]
        case ChoiceOptions():
            return _fields(spec, pa.int32(), pa.string(), pa.list_(pa.float32()))
        case FillMaskOptions():
            return _fields(spec, pa.list_(_FILL))
        case PronounOptions():
            return _fields(spec, pa.string(), pa.bool_(), pa.list_(_CANDIDATE))
        case TokensOptions(storage=storage):
            return _token_fields(spec, (pa.string(), pa.int32(), pa.int32(), pa.int32()), storage)
        case WordsOptions(storage=storage):
            return _token_fields(spec, (pa.string(), pa.int32(), pa.int32()), storage)


def _fields(spec: FeatureSpec, *kinds: pa.DataType) -> list[pa.Field]:
    return [pa.field(name, kind) for name, kind in zip(spec.columns, kinds, strict=True)]


def _token_fields(spec: FeatureSpec, kinds: tuple[pa.DataType, ...], storage: Storage) -> list[pa.Field]:
    """Lists of one value for each token, of these kinds; behind them lists of vectors."""
    types = [pa.list_(kind) for kind in kinds]
    types += [vector_list_type(spec.model.hidden_size, storage)] * (len(spec.columns) - len(kinds))
    return [pa.field(name, kind) for name, kind in zip(spec.columns, types, strict=True)]
