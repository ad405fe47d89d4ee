"""What a run is: the files it reads, the models and features, and all that determines its rows.

Frozen values that travel: in ``_run.json``, in the footer of every part, digested into the fingerprint.
"""

from pipelines.spec.corpus import Attached, CorpusSpec, Format, KeptColumn, Role, Shard, arrow_type, arrow_type_name
from pipelines.spec.features import (
    FeatureKind,
    FeatureSpec,
    ModelRef,
    embedding_feature,
    labels_feature,
    multi_labels_feature,
    regression_feature,
)
from pipelines.spec.options import (
    EmbeddingOptions,
    LabelsOptions,
    MultiLabelsOptions,
    Options,
    Pooling,
    RegressionOptions,
    Storage,
)
from pipelines.spec.run import (
    MAX_BATCH_TEXT_BYTES,
    TRUNCATED,
    Dtype,
    Long,
    LongTexts,
    RunSpec,
    canonical_json,
    from_json,
    to_json,
)

__all__ = [
    "MAX_BATCH_TEXT_BYTES",
    "TRUNCATED",
    "CorpusSpec",
    "Dtype",
    "EmbeddingOptions",
    "FeatureKind",
    "Attached",
    "FeatureSpec",
    "Format",
    "KeptColumn",
    "LabelsOptions",
    "Long",
    "LongTexts",
    "ModelRef",
    "MultiLabelsOptions",
    "Options",
    "Pooling",
    "RegressionOptions",
    "RunSpec",
    "Shard",
    "Storage",
    "arrow_type",
    "Role",
    "arrow_type_name",
    "canonical_json",
    "embedding_feature",
    "from_json",
    "labels_feature",
    "multi_labels_feature",
    "regression_feature",
    "to_json",
]
