"""What a part says about itself in its Parquet footer: which run, which batch, how many rows, made by whom and when."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import VerificationError
from pipelines.parts.layout import QUARANTINE, batch_of_quarantine, part_name
from pipelines.parts.store import Store, storage
from pipelines.spec import RunSpec, canonical_json, to_json

PREFIX = "penstock."
FOOTER_VERSION = 1
_TEXTS = ["run", "fingerprint", "code_version", "input_digest", "slot", "device", "quarantine", "quarantine_sha256"]
_COUNTS = ["batch", "first", "count", "attempt", "tokens", "tokens_used", "truncated", "peak_rss_bytes"]
_COUNTS += ["rows", "rejects", "warnings"]
_SHA256 = re.compile(r"[0-9a-f]{64}")
_KEPT_SPECS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class PartMeta:
    """What the committing side knows about a part.

    ``count`` is the items of the batch, rejects included; ``input_digest`` the plan's hex digest of them. ``host``,
    ``slot`` and ``device`` name who computed it, ``started_unix_s`` when the batch was claimed; the tokens are sums
    over documents.
    ``generation`` is 1, or that of the replay that rewrote the part.
    """

    run: str
    spec: RunSpec
    code_version: str
    batch: int
    first: int
    count: int
    input_digest: str
    attempt: int = 1
    host: str = ""
    slot: str = ""
    device: str = ""
    started_unix_s: float = 0.0
    tokens: int = 0
    tokens_used: int = 0
    truncated: int = 0
    repeated: int = 0
    peak_rss_bytes: int = 0
    generation: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the commit adds: counts, when, and the quarantine file that belongs to the part (empty without one)."""

    rows: int
    rejects: int
    warnings: int
    committed_unix_s: float
    rejects_by_reason: Mapping[str, int]
    quarantine: str = ""
    quarantine_sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footer:
    """A part's footer as read back. ``schema`` is without metadata, ``file_rows`` what Parquet itself counts."""

    run: str
    fingerprint: str
    code_version: str
    batch: int
    first: int
    count: int
    input_digest: str
    attempt: int
    host: str
    slot: str
    device: str
    started_unix_s: float
    committed_unix_s: float
    tokens: int
    tokens_used: int
    truncated: int
    repeated: int
    peak_rss_bytes: int
    rows: int
    rejects: int
    warnings: int
    rejects_by_reason: Mapping[str, int]
    quarantine: str
    quarantine_sha256: str
    generation: int
    file_rows: int
    schema: pa.Schema


_entries: OrderedDict[int, tuple[RunSpec, dict[str, bytes]]] = OrderedDict()


def spec_metadata(spec: RunSpec) -> dict[str, bytes]:
    """The footer entries that all parts of a run share; features go by the name of their first column.

    Kept for the last specs by identity: comparing or hashing one goes through all files of its corpus.
    """
    there = _entries.get(id(spec))
    if there is None:
        there = _entries[id(spec)] = spec, _spec_metadata(spec)  # holds the spec too, so its id stays its own
        if len(_entries) > _KEPT_SPECS:
            _entries.popitem(last=False)
    return there[1]


def _spec_metadata(spec: RunSpec) -> dict[str, bytes]:
    features = {feature.columns[0]: feature for feature in spec.features}
    values = {
        "feature_fingerprints": {name: spec.feature_fingerprint(feature) for name, feature in features.items()},
        "model_digests": {name: feature.model.digest for name, feature in features.items()},
        "tokenizer_digests": {name: feature.model.tokenizer_digest for name, feature in features.items()},
        "labels": {name: feature.labels for name, feature in features.items() if feature.labels},
    }
    entries = {key: canonical_json(value) for key, value in values.items()}
    # Without the list of files: of 10^5 files it is 20 MB, in every part. ``_run.json`` has it.
    without_files = to_json(replace(spec, corpus=replace(spec.corpus, shards=())))
    without_files["corpus"]["files"] = len(spec.corpus.shards)
    del without_files["corpus"]["shards"]
    return {"spec": canonical_json(without_files), "fingerprint": spec.fingerprint().encode(), **entries}


def footer_metadata(meta: PartMeta, outcome: Outcome) -> dict[bytes, bytes]:
    """The key-value metadata of a part; every key begins with ``penstock.``."""
    values: dict[str, bytes] = {"version": str(FOOTER_VERSION).encode(), **spec_metadata(meta.spec)}
    for source in (meta, outcome):
        for key in source.__dataclass_fields__:
            value = getattr(source, key)
            if key == "rejects_by_reason":
                values[key] = canonical_json(dict(value))
            elif key != "spec":
                values[key] = repr(value).encode() if isinstance(value, float) else str(value).encode()
    return {(PREFIX + key).encode(): value for key, value in values.items()}


def read_footer(store: Store, batch: int) -> Footer:
    """The footer of a batch's part. Raises VerificationError where it is missing, damaged or none of ours."""
    name = part_name(batch)
    if not store.exists(name):
        raise VerificationError(f"{store.root / name} is missing.")
    return read_footer_file(store.path(name))


def read_footer_file(path: Path) -> Footer:
    """As :func:`read_footer`, of any file."""
    metadata, schema = parquet_metadata(path)
    raw = {key.decode(errors="replace"): value for key, value in (metadata.metadata or {}).items()}
    try:
        values = {key.removeprefix(PREFIX): value.decode() for key, value in raw.items() if key.startswith(PREFIX)}
        return _parse(values, int(metadata.num_rows), schema.remove_metadata())
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        message = f"{path} is no part of penstock's, or of another version ({type(error).__name__}: {error})."
        raise VerificationError(message, "Move it away, then resume.") from error


def parquet_metadata(path: Path) -> tuple[pq.FileMetaData, pa.Schema]:
    """Footer and Arrow schema of a Parquet file. Raises VerificationError where it is damaged."""
    try:
        with storage("read", path), path.open("rb") as file:
            try:
                parquet = pq.ParquetFile(file)
                return parquet.metadata, parquet.schema_arrow
            except (pa.ArrowException, OSError, ValueError) as error:
                # An OSError with a number is the disk's; Arrow's own, for what it cannot decode, has none.
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise VerificationError(f"{path} is damaged: {reason[:200]}.", "Remove it, then resume.") from error
    except MemoryError as error:
        raise VerificationError(f"{path} is damaged: its footer makes no sense.", "Remove it, then resume.") from error


def _parse(values: Mapping[str, str], file_rows: int, schema: pa.Schema) -> Footer:
    if values["version"] != str(FOOTER_VERSION):
        raise ValueError(f"footer version {values['version']}")
    quarantine = values["quarantine"]
    if quarantine:
        folder, _, file_name = quarantine.partition("/")
        named = batch_of_quarantine(file_name)
        if folder != QUARANTINE or named is None or not _SHA256.fullmatch(values["quarantine_sha256"]):
            raise ValueError(f"quarantine file {quarantine[:80]!r}")
    reasons = {str(reason): int(count) for reason, count in json.loads(values["rejects_by_reason"]).items()}
    fields: dict[str, Any] = {key: values[key] for key in _TEXTS} | {key: int(values[key]) for key in _COUNTS}
    fields |= {key: float(values[key]) for key in ("started_unix_s", "committed_unix_s")}
    fields["generation"] = int(values.get("generation", "1"))  # parts were written before there were replays
    fields["repeated"] = int(values.get("repeated", "0"))
    fields["host"] = values.get("host", "")  # and before it was said where
    return Footer(**fields, rejects_by_reason=reasons, file_rows=file_rows, schema=schema)
