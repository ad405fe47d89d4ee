"""What determines the results of a run: frozen, stored in ``_run.json``, and digested into the fingerprint.

Whatever changes only speed or place is no part of it: that lives in the worker's settings.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pyarrow as pa

SPEC_VERSION = 1
MAX_BATCH_TEXT_BYTES = 32 * 2**20
"""A batch never holds more than this much text (contract: *The life of a run*), but always at least one document."""


class Format(StrEnum):
    """How a file of the corpus is read."""

    AUTO = "auto"
    JSONL = "jsonl"
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"
    ARROW = "arrow"
    TEXT = "text"


class Pooling(StrEnum):
    """How token vectors become one vector: over all used tokens including ``<s>`` and ``</s>``; ``cls`` is ``<s>``."""

    MEAN = "mean"
    CLS = "cls"
    MAX = "max"


class Dtype(StrEnum):
    """The number format of the forward pass. ``auto`` is resolved once, at open, and never to int8."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    INT8 = "int8"


def arrow_type(name: str) -> pa.DataType:
    """The Arrow type that a name of :func:`arrow_type_name` stands for. Raises ValueError for any other name."""
    if name == "json":
        return pa.string()
    if name.startswith("arrow:"):
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(name[6:]))).field(0).type
    return pa.type_for_alias(name)


def arrow_type_name(dtype: pa.DataType) -> str:
    """A name for any Arrow type that survives JSON: the alias where Arrow has one, else the serialised type."""
    try:
        if pa.type_for_alias(str(dtype)) == dtype:
            return str(dtype)
    except ValueError:
        pass
    return "arrow:" + base64.b64encode(pa.schema([pa.field("", dtype)]).serialize()).decode()


@dataclass(frozen=True, slots=True)
class KeptColumn:
    """A column of the corpus that goes into the dataset: source column, Arrow type (by name), name in the dataset.

    Type ``json`` is JSON text of any value, stored as a string.
    """

    column: str
    type: str
    name: str

    @property
    def field(self) -> pa.Field:
        return pa.field(self.name, arrow_type(self.type))


@dataclass(frozen=True, slots=True)
class Shard:
    """One input file. ``name`` is its path relative to its CORPUS argument and the stem of the ids made from it.

    ``compression`` is ``none``, ``gzip``, ``zstd``, ``bz2`` or ``xz``; size in bytes, mtime in nanoseconds.
    """

    uri: str
    name: str
    format: Format
    compression: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class CorpusSpec:
    """The files that a run reads, in order, and how their columns become documents."""

    shards: tuple[Shard, ...]
    text_columns: tuple[str, ...] = ("text",)
    pair_column: str | None = None
    id_column: str | None = "id"
    keep: tuple[KeptColumn, ...] = ()
    header: bool = True
    whole_files: bool = False
    encoding: str = "utf-8"
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A checkpoint, pinned: where it was found and the digests of what it holds.

    ``source`` is what the user named (folder or hub id), ``path`` the local folder, ``revision`` the hub commit.
    ``encoder_digest`` is over the encoder's tensors alone, so that checkpoints that share an encoder share a forward.
    ``token_limit`` is the longest input in tokens, special tokens included. ``labels`` is empty without a classifier.
    """

    source: str
    path: str
    revision: str
    model_type: str
    digest: str
    encoder_digest: str
    tokenizer_digest: str
    hidden_size: int
    token_limit: int
    labels: tuple[str, ...] = ()


class FeatureKind(StrEnum):
    """What is read off a forward pass."""

    EMBEDDING = "embedding"
    LABELS = "labels"


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """One feature of a run. ``columns`` are the dataset columns it fills, fixed at open."""

    kind: FeatureKind
    model: ModelRef
    columns: tuple[str, ...]
    pooling: Pooling | None = None


def embedding_feature(model: ModelRef, pooling: Pooling, *, alone: bool) -> FeatureSpec:
    """An embedding; its column is ``embedding``, or ``embedding_POOLING`` when the run has several."""
    column = "embedding" if alone else f"embedding_{pooling}"
    return FeatureSpec(FeatureKind.EMBEDDING, model, (column,), pooling)


def labels_feature(model: ModelRef, name: str | None) -> FeatureSpec:
    """A classifier's label, its score and all scores; columns are prefixed with the classifier's name if it has one."""
    prefix = f"{name}_" if name else ""
    return FeatureSpec(FeatureKind.LABELS, model, (f"{prefix}label", f"{prefix}score", f"{prefix}scores"))


@dataclass(frozen=True, slots=True)
class RunSpec:
    """Everything that determines the rows of a dataset. ``model`` is the one of ``--model``.

    With ``batch_invariant`` a document's values are the same bytes in any company.
    """

    corpus: CorpusSpec
    model: ModelRef
    features: tuple[FeatureSpec, ...]
    max_tokens: int
    dtype: Dtype
    batch_documents: int
    prefix: str = ""
    batch_invariant: bool = False

    @property
    def column_names(self) -> tuple[str, ...]:
        """All columns of the dataset, in order."""
        features = [column for feature in self.features for column in feature.columns]
        kept = [kept.name for kept in self.corpus.keep]
        return ("id", *features, "n_tokens", "n_used", "input_digest", *kept)

    def fingerprint(self) -> str:
        """Hex SHA-256 of what determines the rows: digests and names, never absolute paths, sizes or dates of files."""
        document = to_json(self)
        for model in (document["model"], *(feature["model"] for feature in document["features"])):
            for place in ("source", "path", "revision"):
                del model[place]
        document["corpus"]["shards"] = [{"name": shard.name, "format": shard.format} for shard in self.corpus.shards]
        if not self.batch_invariant:
            del document["batch_invariant"]  # it is younger than many a dataset, whose fingerprint stays as it was
        document["version"] = SPEC_VERSION
        return hashlib.sha256(canonical_json(document)).hexdigest()

    def feature_fingerprint(self, feature: FeatureSpec) -> str:
        """Hex SHA-256 of what determines one feature's values for a text: not corpus, limit or kept columns."""
        model = feature.model
        document = {
            "version": SPEC_VERSION,
            "kind": feature.kind,
            "pooling": feature.pooling,
            "model": model.digest,
            "tokenizer": model.tokenizer_digest,
            "dtype": self.dtype,
            "max_tokens": self.max_tokens,
            "prefix": self.prefix,
        }
        if self.batch_invariant:
            document["batch_invariant"] = True
        return hashlib.sha256(canonical_json(document)).hexdigest()

    def without_places(self) -> RunSpec:
        """What an extractor depends on: not files, batches, or where a model was found. Equal ones can share one."""
        return dataclasses.replace(
            self,
            corpus=CorpusSpec((), keep=self.corpus.keep),
            model=_placeless(self.model),
            features=tuple(dataclasses.replace(feature, model=_placeless(feature.model)) for feature in self.features),
            batch_documents=0,
        )


def _placeless(model: ModelRef) -> ModelRef:
    return dataclasses.replace(model, source="", path="", revision="")


def canonical_json(value: Any) -> bytes:
    """The one byte form of a JSON value: sorted keys, no blanks, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def to_json(spec: RunSpec) -> dict[str, Any]:
    """A spec as JSON-ready values; :func:`from_json` is the way back."""
    return dataclasses.asdict(spec)


def from_json(document: Mapping[str, Any]) -> RunSpec:
    """A spec from what :func:`to_json` made. Raises KeyError, TypeError or ValueError where it is something else."""
    corpus = dict(document["corpus"])
    corpus["shards"] = tuple(Shard(**{**shard, "format": Format(shard["format"])}) for shard in corpus["shards"])
    corpus["keep"] = tuple(KeptColumn(**kept) for kept in corpus["keep"])
    corpus["text_columns"] = tuple(corpus["text_columns"])
    return RunSpec(
        corpus=CorpusSpec(**corpus),
        model=_model(document["model"]),
        features=tuple(_feature(feature) for feature in document["features"]),
        max_tokens=document["max_tokens"],
        dtype=Dtype(document["dtype"]),
        batch_documents=document["batch_documents"],
        prefix=document["prefix"],
        batch_invariant=document.get("batch_invariant", False),
    )


def _model(document: Mapping[str, Any]) -> ModelRef:
    return ModelRef(**{**document, "labels": tuple(document["labels"])})


def _feature(document: Mapping[str, Any]) -> FeatureSpec:
    pooling = document["pooling"]
    return FeatureSpec(
        FeatureKind(document["kind"]),
        _model(document["model"]),
        tuple(document["columns"]),
        Pooling(pooling) if pooling is not None else None,
    )
