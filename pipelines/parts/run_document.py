"""``_run.json``: which run a folder belongs to. Written once, if absent, before anything else."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipelines.errors import ForeignFolderError
from pipelines.parts.layout import RUN
from pipelines.parts.store import Store, storage
from pipelines.spec import RunSpec, from_json, to_json

RUN_DOCUMENT_VERSION = 1
_RESTORE = (
    "Restore it from a copy: the rows in data/ are not touched, and each part's footer holds the spec without files; "
    "only a new run needs another folder."
)
_RUN_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")


def is_run_id(text: str) -> bool:
    """Whether a text may be the id of a run: up to 128 letters, digits, dots, hyphens and underscores, no dot first."""
    return _RUN_ID.fullmatch(text) is not None


class Transport(StrEnum):
    """How documents come to the workers: through Redis, or read by themselves. It changes no row."""

    VALUE = "value"
    REFERENCE = "reference"


@dataclass(frozen=True, slots=True)
class RunDocument:
    """The identity of a run. ``created`` is an ISO 8601 instant, ``max_quarantined`` as on the command line."""

    run: str
    fingerprint: str
    code_version: str
    created: str
    max_quarantined: str
    corpus_arguments: tuple[str, ...]
    spec: RunSpec
    transport: Transport = Transport.VALUE


def put_if_absent(store: Store, document: RunDocument) -> bool:
    """Claim the folder for a run, made here where it is not there; False where it belongs to one already (:func:`load`
    says to which).
    """
    store.create()
    value = {
        "version": RUN_DOCUMENT_VERSION,
        "run": document.run,
        "fingerprint": document.fingerprint,
        "code_version": document.code_version,
        "created": document.created,
        "max_quarantined": document.max_quarantined,
        "corpus_arguments": list(document.corpus_arguments),
        "transport": document.transport,
        "spec": to_json(document.spec),
    }
    return store.put_if_absent(RUN, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def identity(store: Store) -> tuple[int, int, int] | None:
    """Which ``_run.json`` a folder holds, by one look at the file; None where there is none.

    As long as it stays the same, what :func:`load` said is true: the file is never rewritten.
    """
    path = store.path(RUN)
    with storage("look for", path), contextlib.suppress(FileNotFoundError, NotADirectoryError):
        found = path.stat()
        return found.st_dev, found.st_ino, found.st_mtime_ns
    return None


def load(store: Store) -> RunDocument | None:
    """The run that a folder belongs to, or None. Raises ForeignFolderError where ``_run.json`` is not ours."""
    data = store.read_if_present(RUN)
    if data is None:
        return None
    path = store.root / RUN
    try:
        value: dict[str, Any] = json.loads(data)
        version = value["version"]
        if version != RUN_DOCUMENT_VERSION:
            message = f"{path} is of version {version}, this penstock reads version {RUN_DOCUMENT_VERSION}."
            raise ForeignFolderError(message, "Use the version of penstock that wrote it, or another folder.")
        document = RunDocument(
            run=str(value["run"]),
            fingerprint=str(value["fingerprint"]),
            code_version=str(value["code_version"]),
            created=str(value["created"]),
            max_quarantined=str(value["max_quarantined"]),
            corpus_arguments=tuple(str(argument) for argument in value["corpus_arguments"]),
            spec=from_json(value["spec"]),
            transport=Transport(value.get("transport", Transport.VALUE)),
        )
        fingerprint = document.spec.fingerprint()
        if not is_run_id(document.run):
            raise ValueError("its run has no id")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = "is empty" if not data.strip() else f"is damaged, or none of penstock's ({type(error).__name__})"
        raise ForeignFolderError(f"{path} {what}.", _RESTORE) from error
    if fingerprint != document.fingerprint:
        message = f"{path}: its spec has the fingerprint {fingerprint[:12]}, it says {document.fingerprint[:12]}."
        raise ForeignFolderError(message, f"It was edited, or written by another version. {_RESTORE}")
    return document
