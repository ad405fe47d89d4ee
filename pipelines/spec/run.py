"""What determines the results of a run: frozen, stored in ``_run.json``, and digested into the fingerprint.

Whatever changes only speed or place is no part of it: that lives in the worker's settings.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipelines.spec.corpus import Attached, CorpusSpec, Format, KeptColumn, Role, Shard
from pipelines.spec.features import FeatureSpec, ModelRef, feature_from_json, feature_to_json, model_from_json
from pipelines.spec.tokens import token_vector_bytes

SPEC_VERSION = 1
MAX_BATCH_TEXT_BYTES = 32 * 2**20
"""A batch never holds more than this much text (contract: *The life of a run*), but always at least one document."""
BATCH_VECTOR_BYTES = 128 * 2**20
"""Where every token has vectors, a batch has so little text that they come to about so much."""
DOCUMENT_VECTOR_BYTES = 2**30
"""A document whose tokens' vectors are more is rejected: they are in memory several times."""
_TEXT_BYTES_PER_TOKEN = 4


class Dtype(StrEnum):
    """The number format of the forward pass. ``auto`` is resolved once, at open, and never to int8."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    INT8 = "int8"


class Long(StrEnum):
    """What is done with a document of more tokens than are used at once."""

    TRUNCATE = "truncate"
    WINDOW = "window"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class LongTexts:
    """``truncate``: cut; ``window``: read window by window, of which neighbours share ``stride`` tokens; ``error``:
    quarantined.
    """

    policy: Long = Long.TRUNCATE
    stride: int = 0


TRUNCATED = LongTexts()


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
    long: LongTexts = TRUNCATED

    @property
    def column_names(self) -> tuple[str, ...]:
        """All columns of the dataset, in order."""
        features = [column for feature in self.features for column in feature.columns]
        kept = [kept.name for kept in self.corpus.keep]
        windows = ["n_windows"] * (self.long.policy is Long.WINDOW)
        return ("id", *features, "n_tokens", "n_used", *windows, "input_digest", *kept)

    @property
    def max_batch_text_bytes(self) -> int:
        """A batch never holds more text than this, but always at least one document."""
        per_token = token_vector_bytes(self.features)
        fitting = BATCH_VECTOR_BYTES * _TEXT_BYTES_PER_TOKEN // per_token if per_token else MAX_BATCH_TEXT_BYTES
        return min(fitting, MAX_BATCH_TEXT_BYTES)

    @property
    def max_document_tokens(self) -> int | None:
        """How many tokens a document may have, where each has vectors; None where there is no such limit."""
        per_token = token_vector_bytes(self.features)
        return DOCUMENT_VECTOR_BYTES // per_token if per_token else None

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
        described = feature_to_json(feature)
        document = {
            "version": SPEC_VERSION,
            "kind": described["kind"],
            "pooling": described["pooling"],
            "model": model.digest,
            "tokenizer": model.tokenizer_digest,
            "dtype": self.dtype,
            "max_tokens": self.max_tokens,
            "prefix": self.prefix,
        }
        if "options" in described:
            document["options"] = described["options"]
        if self.batch_invariant:
            document["batch_invariant"] = True
        if self.long != TRUNCATED:
            document["long"] = dataclasses.asdict(self.long)
        return hashlib.sha256(canonical_json(document)).hexdigest()

    def without_places(self) -> RunSpec:
        """What an extractor depends on: not files, batches, or where a model was found. Equal ones can share one."""
        return dataclasses.replace(
            self,
            corpus=CorpusSpec((), keep=self.corpus.keep, attached=self.corpus.attached),
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
    document = dataclasses.asdict(dataclasses.replace(spec, features=()))
    document["features"] = [feature_to_json(feature) for feature in spec.features]
    if spec.long == TRUNCATED:
        del document["long"]  # it is younger than many a dataset, whose fingerprint stays as it was
    if not spec.corpus.attached:
        del document["corpus"]["attached"]  # and so is this
    return document


def from_json(document: Mapping[str, Any]) -> RunSpec:
    """A spec from what :func:`to_json` made. Raises KeyError, TypeError or ValueError where it is something else."""
    corpus = dict(document["corpus"])
    corpus["shards"] = tuple(Shard(**{**shard, "format": Format(shard["format"])}) for shard in corpus["shards"])
    corpus["keep"] = tuple(KeptColumn(**kept) for kept in corpus["keep"])
    corpus["text_columns"] = tuple(corpus["text_columns"])
    corpus["attached"] = tuple(Attached(Role(one["role"]), one["column"]) for one in corpus.get("attached", ()))
    long = document.get("long", {"policy": Long.TRUNCATE, "stride": 0})
    return RunSpec(
        corpus=CorpusSpec(**corpus),
        model=model_from_json(document["model"]),
        features=tuple(feature_from_json(feature) for feature in document["features"]),
        max_tokens=document["max_tokens"],
        dtype=Dtype(document["dtype"]),
        batch_documents=document["batch_documents"],
        prefix=document["prefix"],
        batch_invariant=document.get("batch_invariant", False),
        long=LongTexts(Long(long["policy"]), long["stride"]),
    )
