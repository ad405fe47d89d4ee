"""A run from the outside: open it, lock its folder, say how it stands, cancel it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal

import redis

from pipelines.corpus import check_unchanged
from pipelines.errors import ForeignFolderError, InfrastructureError, InputError, SurroundingsError
from pipelines.parts.cancellation import is_cancelled
from pipelines.parts.layout import DATA, LIVE, LOCK, RUN, SPOOLED, SUCCESS, TEMPORARY
from pipelines.parts.manifest import load_summary
from pipelines.parts.plan import Plan
from pipelines.parts.replay_mark import read_mark, replay_command
from pipelines.parts.run_document import RunDocument, Transport, load, put_if_absent
from pipelines.parts.store import Store
from pipelines.parts.summary import Summary
from pipelines.spec import CorpusSpec, RunSpec
from pipelines.spec.difference import difference
from tasks.ledger import Counts, Ledger

LEFT_BEHIND_S = 24 * 3600.0
"""Age from which a temporary file is no live writer's: they take seconds."""
_BEFORE_RUN = (TEMPORARY, SPOOLED)
"""What a command writes before ``_run.json``."""


def open_run(
    out: Path,
    spec: RunSpec,
    *,
    arguments: Sequence[str],
    max_quarantined: str,
    code_version: str,
    transport: Transport = Transport.VALUE,
) -> tuple[Store, RunDocument]:
    """The run of a folder: a new one, or the one that is there if it has the same spec.

    Raises ForeignFolderError where the folder is somebody else's, CorpusChangedError where the same run's corpus is
    not the one that was listed.
    """
    refuse_foreign(out)
    store = Store(out)
    document = RunDocument(
        run=uuid.uuid4().hex[:16],
        fingerprint=spec.fingerprint(),
        code_version=code_version,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        max_quarantined=max_quarantined,
        corpus_arguments=tuple(arguments),
        spec=spec,
        transport=transport,
    )
    try:
        put_if_absent(store, document)
    except InfrastructureError as error:
        hint = error.hint or "Choose another --out."
        raise InputError(f"--out {out} cannot be written: {error.message}", hint) from error
    there = load_run(out)[1]
    refuse_other_spec(out, there.spec, spec)
    _check_same_files(there.spec.corpus, spec.corpus)
    # Files that were moved are read where they are now; their names, and so the ids, are the same.
    corpus = replace(there.spec.corpus, shards=spec.corpus.shards)
    return store, replace(there, spec=replace(there.spec, corpus=corpus))


def refuse_foreign(out: Path) -> None:
    """Raises ForeignFolderError for what cannot become a run's folder, and InputError for what cannot be a folder."""
    try:
        str(out).encode()  # it is written into JSON and into Redis, and read by other programs
        out.exists()
    except UnicodeEncodeError:
        raise InputError(f"--out {str(out)!r} is not UTF-8.", "Choose another --out.") from None
    except OSError as error:
        raise InputError(f"--out {out} cannot be a folder: {error.strerror}.", "Choose another --out.") from error
    if out.exists() and not out.is_dir():
        raise ForeignFolderError(f"{out} is a file, wanted a folder for the dataset.", "Choose another --out.")
    above = next(parent for parent in (out, *out.parents) if parent.exists())
    if not above.is_dir():
        raise InputError(f"{out} cannot be made: {above} is a file.", "Choose another --out.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"{out} cannot be written: {above} does not allow it.", "Choose another --out.")
    # A command that was killed (or is at it now) may have left its temporary files without _run.json.
    if out.is_dir() and not (out / RUN).exists() and any(path.name not in _BEFORE_RUN for path in out.iterdir()):
        raise ForeignFolderError(
            f"{out} is not empty and holds no run of penstock.", "Choose an empty or a new folder as --out."
        )


def refuse_other_spec(out: Path, there: RunSpec, asked: RunSpec) -> None:
    """Raises ForeignFolderError where a folder's spec is not the one that is asked for."""
    if there.fingerprint() != asked.fingerprint():
        raise ForeignFolderError(
            f"{out} belongs to another run: {difference(there, asked)}.",
            "Choose another --out, or repeat the command that made it.",
        )


def load_run(out: Path) -> tuple[Store, RunDocument]:
    """The run that is in a folder. Raises InputError where there is none."""
    store = Store(out)
    document = load(store) if os.path.isdir(out) else None
    if document is None:
        raise InputError(f"{out} holds no run of penstock.", "Name the folder that was given as --out.")
    return store, document


@contextlib.contextmanager
def locked(store: Store, *, command: str, broker_url: str | None) -> Iterator[None]:
    """Hold the folder for one live command; the lock dies with its process.

    ``_live.json`` (mode 0600) says who holds it and where its Redis is. Raises SurroundingsError where it is held, or
    cannot be locked.
    """
    # Open for writing, or NFS locks it for nobody; a file that nobody reads, or SMB would keep readers out.
    with _lock_file(store, "a+b") as file:
        if not _take(store, file):
            other = live_command(store) or {}
            who = f"`penstock {other['command']}` (process {other['pid']} on {other['host']})" if other else "a command"
            raise SurroundingsError(f"{store.root} is held by {who}.", "Wait for it, or end it with `penstock cancel`.")
        live = {"command": command, "pid": os.getpid(), "host": socket.gethostname(), "broker_url": broker_url}
        store.replace(LIVE, json.dumps(live).encode(), mode=0o600)
        with contextlib.suppress(InfrastructureError):  # what cannot be tidied up hinders nobody
            store.sweep_temporaries(LEFT_BEHIND_S)
        try:
            yield
        finally:
            store.remove(LIVE)


def _take(store: Store, file: BinaryIO) -> bool:
    """Lock a file. Tried for a moment: :func:`is_locked` holds the lock for as long as it takes to look."""
    for _ in range(10):
        if _flock(store, file, fcntl.LOCK_EX):
            return True
        time.sleep(0.02)
    return False


def _flock(store: Store, file: BinaryIO, how: int) -> bool:
    """Lock a file now; False where another has it."""
    with _locking(store):
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):  # the second is what some network mounts say
                raise
            return False
        return True


def _lock_file(store: Store, mode: Literal["rb", "a+b"]) -> BinaryIO:
    with _locking(store):
        return open(store.path(LOCK), mode)


@contextlib.contextmanager
def _locking(store: Store) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = "Its file system must have locks, and this user the right to write there."
        raise SurroundingsError(f"{store.root} cannot be locked: {error.strerror}.", hint) from error


def live_command(store: Store) -> dict[str, Any] | None:
    """What ``_live.json`` says: command, pid, host, broker_url; None without it. It may be a dead command's."""
    data = store.read_if_present(LIVE)
    try:
        return dict(json.loads(data)) if data else None
    except ValueError:
        return None


def is_locked(store: Store) -> bool:
    """Whether a live command holds the folder now."""
    if not store.exists(LOCK):
        return False  # no command has held it yet
    with _lock_file(store, "rb") as file:
        return not _flock(store, file, fcntl.LOCK_SH)  # shared: two that look do not see each other


@dataclass(frozen=True, slots=True)
class Status:
    """How a run stands. ``planned`` and ``committed`` count batches; ``documents_planned`` is None before the plan is

    sealed. ``summary`` is there once a manifest is, ``ledger`` where its Redis could be asked, ``replay`` is the
    command that goes on with an interrupted replay of the quarantine.
    """

    run: str
    out: str
    state: str
    live: bool
    planned: int
    committed: int
    documents_planned: int | None
    summary: Summary | None
    ledger: Counts | None
    replay: str = ""


def status(store: Store, document: RunDocument, client: redis.Redis | None) -> Status:
    """How a run stands, from its folder and, where there is one, its Redis."""
    totals = Plan(store).totals()
    ledger = Ledger(client, document.run).state() if client is not None else None
    summary = load_summary(store)
    live = is_locked(store)
    replaying = None if store.exists(SUCCESS) else read_mark(store)
    if store.exists(SUCCESS):
        state = "sealed"
    elif not live and replaying is None and is_cancelled(store, document.run):
        state = "cancelled"
    elif live or (ledger is not None and ledger.state == "running"):
        state = "running"
    elif replaying is not None:
        state = "interrupted"
    elif ledger is not None and ledger.state != "unknown":
        state = ledger.state
    else:
        state = summary.state if summary is not None else "interrupted"
    return Status(
        run=document.run,
        out=str(store.root),
        state=state,
        live=live,
        planned=totals.batches if totals else Plan(store).tail().batch,
        committed=sum(1 for _ in store.scan(DATA)),
        documents_planned=totals.documents if totals else None,
        summary=summary,
        ledger=ledger,
        replay=replay_command(store.root, replaying.reason) if replaying is not None and state == "interrupted" else "",
    )


def _check_same_files(there: CorpusSpec, asked: CorpusSpec) -> None:
    """The spec names files by their relative names; the same names elsewhere must be the same files, moved."""
    for old, new in zip(there.shards, asked.shards, strict=True):
        if old.uri != new.uri and (old.size, old.mtime_ns) != (new.size, new.mtime_ns):
            raise ForeignFolderError(
                f"This folder's run reads {old.uri}, not {new.uri}.", "Choose another --out for another corpus."
            )
    if all(old.uri == new.uri for old, new in zip(there.shards, asked.shards, strict=True)):
        check_unchanged(there)
