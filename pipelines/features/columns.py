"""The dataset columns of a feature, known from its spec alone: no model is loaded, no torch imported."""

from __future__ import annotations

import pyarrow as pa

from pipelines.spec import FeatureKind, FeatureSpec


def feature_fields(spec: FeatureSpec) -> list[pa.Field]:
    """The Arrow fields of a feature's columns, named as ``spec.columns`` says."""
    if spec.kind is FeatureKind.EMBEDDING:
        (name,) = spec.columns
        return [pa.field(name, pa.list_(pa.float32(), spec.model.hidden_size))]
    label, score, scores = spec.columns
    return [
        pa.field(label, pa.string()),
        pa.field(score, pa.float32()),
        pa.field(scores, pa.list_(pa.float32(), len(spec.model.labels))),
    ]
