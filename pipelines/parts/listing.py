"""``_manifest.json`` as bytes: JSON with one part per line, so that it takes the memory of one line."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from pipelines.errors import VerificationError
from pipelines.parts.layout import MANIFEST, SUCCESS
from pipelines.parts.proof_record import Proof, proof_from_json, proof_to_json
from pipelines.parts.store import Store, storage
from pipelines.parts.summary import Summary, summary_from_json

MANIFEST_VERSION = 1
_PARTS_LINE = b'"parts": [\n'


@dataclass(frozen=True, slots=True)
class PartRecord:
    """One line of the manifest."""

    name: str
    batch: int
    first: int
    rows: int
    rejects: int
    bytes: int
    sha256: str
    quarantine: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A batch that was given up: its documents have neither row nor quarantine entry."""

    batch: int
    first: int
    documents: int
    reason: str


@dataclass(frozen=True, slots=True)
class Head:
    """A manifest without its list of parts. ``statistics`` are measurements that cannot be computed again.

    ``proof`` is None where nobody was to make one: not at this seal, or not yet in the version that sealed.
    """

    run: str
    fingerprint: str
    max_quarantined: str
    summary: Summary
    parts_sha256: str
    dead_letters: tuple[DeadLetter, ...]
    statistics: Mapping[str, int]
    proof: Proof | None = None


R = TypeVar("R", PartRecord, DeadLetter)


def write(store: Store, head: Head, lines: Path, *, over: bool) -> str | None:
    """Put a manifest, ``over`` an older one or where there is none; ``lines`` is a temporary file of :func:`part_line`.

    Returns the hex SHA-256 of the manifest; None, and nothing changed, where it was not to be put over the one there.
    """
    temporary = store.new_temporary()
    with storage("write", temporary), temporary.open("xb") as file:
        file.write(_head_bytes(head) + _PARTS_LINE)
        with lines.open("rb") as source:
            shutil.copyfileobj(source, file, 1 << 20)
        file.write(b"\n]}\n")
    with temporary.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if over:
        store.replace_by(temporary, MANIFEST)
    elif not store.publish(temporary, MANIFEST):
        return None
    return sha256


def part_line(record: PartRecord, *, first: bool) -> bytes:
    """One part as it stands in the manifest, with what separates it from the one before."""
    return (b"" if first else b",\n") + json.dumps(asdict(record)).encode()


def read_head(store: Store) -> Head | None:
    """All but the parts; None without a manifest. Raises VerificationError where it cannot be read."""
    if not store.exists(MANIFEST):
        return None
    lines: list[bytes] = []
    with store.open(MANIFEST) as file, storage("read", MANIFEST):
        for line in file:
            if line == _PARTS_LINE:
                break
            lines.append(line)
    try:
        return _parse_head(store, json.loads(b"".join(lines).rstrip().rstrip(b",") + b"}"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(store) from error


def read_parts(store: Store) -> Iterator[PartRecord]:
    """The parts that the manifest lists, in order. Raises VerificationError where it cannot be read."""
    with store.open(MANIFEST) as file, storage("read", MANIFEST):
        for line in file:
            if line == _PARTS_LINE:
                break
        for line in file:
            if line == b"]}\n":
                return
            try:
                if line != b"\n":  # an empty list
                    yield _typed(PartRecord(**json.loads(line.rstrip().removesuffix(b","))))
            except (ValueError, TypeError, RecursionError) as error:
                raise _damaged(store) from error
    raise _damaged(store)


def success_bytes(run: str, manifest_sha256: str) -> bytes:
    """What ``_SUCCESS`` holds: it seals one manifest."""
    return json.dumps({"run": run, "manifest_sha256": manifest_sha256}).encode() + b"\n"


def load_summary(store: Store) -> Summary | None:
    """The summary of a run that was sealed, or ended incomplete; None before."""
    head = read_head(store)
    return None if head is None else head.summary


def _head_bytes(head: Head) -> bytes:
    summary = head.summary.to_json()
    del summary["out"], summary["state"]  # the folder may move, and _SUCCESS says the state
    value = {
        "version": MANIFEST_VERSION,
        "run": head.run,
        "fingerprint": head.fingerprint,
        "generation": head.summary.generation,
        "documents": head.summary.documents,
        "rows": head.summary.rows,
        "quarantined": head.summary.quarantined,
        "max_quarantined": head.max_quarantined,
        "summary": summary,
        "dead_letters": [asdict(letter) for letter in head.dead_letters],
        "statistics": dict(head.statistics),
        **({"proof": proof_to_json(head.proof)} if head.proof else {}),
        "parts_sha256": head.parts_sha256,
    }
    lines = [f"{json.dumps(key)}: {json.dumps(item, ensure_ascii=False)},\n" for key, item in value.items()]
    return ("{\n" + "".join(lines)).encode("utf-8", "backslashreplace")


def _parse_head(store: Store, value: Mapping[str, Any]) -> Head:
    if value["version"] != MANIFEST_VERSION:
        raise ValueError("another version")
    state = "sealed" if store.exists(SUCCESS) else "incomplete"
    summary = summary_from_json(value["summary"], out=str(store.root), state=state)
    for key in ("generation", "documents", "rows", "quarantined"):
        if value[key] != getattr(summary, key):
            raise ValueError(f"{key} is there twice and differs")
    return Head(
        run=str(value["run"]),
        fingerprint=str(value["fingerprint"]),
        max_quarantined=str(value["max_quarantined"]),
        summary=summary,
        parts_sha256=str(value["parts_sha256"]),
        dead_letters=tuple(_typed(DeadLetter(**letter)) for letter in value["dead_letters"]),
        statistics=dict(value["statistics"]),
        proof=proof_from_json(value.get("proof")),
    )


def _typed(record: R) -> R:
    """The record, if its values are what its annotations say; JSON could hold anything."""
    for field in fields(record):
        if type(getattr(record, field.name)).__name__ != field.type:
            raise TypeError(f"{field.name} is no {field.type}")
    return record


def _damaged(store: Store) -> VerificationError:
    return VerificationError(f"{store.root / MANIFEST} is damaged.", "`penstock resume` writes it anew.")
