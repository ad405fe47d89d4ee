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
    Aggregation,
    AnswerOptions,
    EmbeddingOptions,
    LabelsOptions,
    MultiLabelsOptions,
    Options,
    Pooling,
    RegressionOptions,
    SpansOptions,
    Storage,
    TokensOptions,
    WordsOptions,
    WordSource,
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
from pipelines.spec.stretches import answer_feature, spans_feature
from pipelines.spec.tokens import token_vector_bytes, tokens_feature, words_feature

__all__ = [
    "MAX_BATCH_TEXT_BYTES",
    "TRUNCATED",
    "Aggregation",
    "AnswerOptions",
    "Attached",
    "CorpusSpec",
    "Dtype",
    "EmbeddingOptions",
    "FeatureKind",
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
    "Role",
    "RunSpec",
    "Shard",
    "SpansOptions",
    "Storage",
    "TokensOptions",
    "WordSource",
    "WordsOptions",
    "answer_feature",
    "arrow_type",
    "arrow_type_name",
    "canonical_json",
    "embedding_feature",
    "from_json",
    "labels_feature",
    "multi_labels_feature",
    "regression_feature",
    "spans_feature",
    "to_json",
    "token_vector_bytes",
    "tokens_feature",
    "words_feature",
]
