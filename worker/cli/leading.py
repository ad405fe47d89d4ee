"""What ``run``, ``submit`` and ``resume`` share: open a run, lead it to its end, print what came of it."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pipelines import __version__
from pipelines.errors import IncompleteError, UsageError
from pipelines.opening import make_spec
from pipelines.parts.layout import DATA, MANIFEST, SPOOLED, SUCCESS
from pipelines.parts.limit import DEFAULT_LIMIT, Limit
from pipelines.parts.listing import read_head
from pipelines.parts.run_document import RunDocument, Transport
from pipelines.parts.run_document import load as load_document
from pipelines.parts.store import Store
from pipelines.parts.summary import Summary
from pipelines.planning import Planner
from pipelines.spec import Dtype, RunSpec
from tasks.client import connect
from tasks.fleet import live_workers
from tasks.runs import open_run, refuse_foreign, refuse_other_spec
from worker import address
from worker.cli.options import make_request
from worker.cli.output import emit, fault
from worker.cli.progress import ProgressBar
from worker.cli.summary import dry_run_json, dry_run_text, fed_json, fed_text, summary_json, summary_text
from worker.gpu import Slot
from worker.remembered import remember
from worker.session import lead_run
from worker.settings import LogLevel, Settings, load

BATCH_DOCUMENTS_CPU = 512
BATCH_DOCUMENTS_GPU = 32_768


class Opened(NamedTuple):
    """A run whose folder is claimed."""

    store: Store
    document: RunDocument


def settings_of(flags: dict[str, Any]) -> Settings:
    """The settings of a command that seals what it leads."""
    return load(
        broker_url=flags["broker"],
        devices=flags["devices"],
        proof_documents=flags["proof"],
        once=flags.get("once") or None,
        log_level="debug" if flags["debug"] else None,
    )


def opened_run(flags: dict[str, Any], *, dtype: Callable[[], Dtype], batch_documents: int) -> Opened | None:
    """Open the run that the flags ask for; None where it was only to be shown (--dry-run).

    What was not asked for is taken from the run that is there, so that it is resumed on whatever machine.
    """
    if flags["max_quarantined"]:
        Limit.parse(flags["max_quarantined"])
    out: Path = flags["out"].absolute()
    refuse_foreign(out)
    there = _spec_there(out)
    asked = Dtype(flags["dtype"])
    if asked is Dtype.AUTO:
        asked = there.dtype if there else dtype()
    documents = flags["batch_docs"] or (there.batch_documents if there else batch_documents)
    if flags["dry_run"]:
        with _spooling_nowhere() as folder:
            spec = make_spec(make_request(flags, dtype=asked, batch_documents=documents, spool_to=folder))
            if there is not None:
                refuse_other_spec(out, there, spec)
            emit(dry_run_json(spec, out), dry_run_text(spec, out), as_json=flags["as_json"])
        return None
    request = make_request(flags, dtype=asked, batch_documents=documents, spool_to=out / SPOOLED)
    spec = make_spec(request)
    store, document = open_run(
        out,
        spec,
        arguments=request.arguments,
        max_quarantined=flags["max_quarantined"] or DEFAULT_LIMIT.text,
        code_version=__version__,
        transport=Transport(flags["transport"] or Transport.VALUE),
    )
    return sent_by(Opened(store, document), flags)


def sent_by(opened: Opened, flags: dict[str, Any]) -> Opened:
    """The run with its documents sent as the command says now, else as it was opened.

    Raises UsageError where its workers would look for the corpus where it is not any more.
    """
    store, document = opened
    transport = Transport(flags["transport"] or document.transport)
    there = load_document(store)
    if there is not None and not flags.get("inline"):
        _refuse_moved(store, there.spec, document.spec, transport)
    return Opened(store, replace(document, transport=transport))


def _refuse_moved(store: Store, there: RunSpec, asked: RunSpec, transport: Transport) -> None:
    shards = zip(there.corpus.shards, asked.corpus.shards, strict=True)
    moved = next(((old.uri, new.uri) for old, new in shards if old.uri != new.uri), None)
    if moved is None:
        return
    if any(entry.source_digest for entry in Planner(store, asked).backlog()):
        other = "start a new run in another folder"  # a worker reads these, whatever the transport is now
    elif transport is Transport.REFERENCE:
        other = "use --transport value"
    else:
        return
    raise UsageError(
        f"The corpus was moved since the run was opened: {moved[0]} is {moved[1]} now.",
        f"Workers read it where it was: put it, or a link to it, there and `penstock resume {store.root}`; or {other}.",
    )


def limit_of(document: RunDocument, flags: dict[str, Any]) -> Limit:
    """How much may be in quarantine: what the command says now, else what the run was opened with."""
    return Limit.parse(flags["max_quarantined"] or document.max_quarantined)


def lead_opened(
    settings: Settings,
    opened: Opened,
    *,
    command: str,
    slots: list[Slot],
    flags: dict[str, Any],
    until_sealed: bool,
    limit: Limit,
) -> int:
    """Lead an opened run and print what came of it; a sealed one is only printed.

    Returns 0, or raises IncompleteError where it could not be sealed.
    """
    store, document = opened
    remember(document.run, store.root, settings.broker_url)
    if store.exists(SUCCESS):
        return finish(store, flags)
    started = time.monotonic()
    quiet = flags["as_json"] and not flags["debug"]
    with ProgressBar(quiet=quiet, already=documents_there(store, document)) as bar:
        summary = lead_run(
            _quieter(settings),
            store,
            document,
            command=command,
            slots=slots,
            limit=limit,
            until_sealed=until_sealed,
            observer=bar,
        )
    seconds_total = time.monotonic() - started
    if summary is None:
        workers = _listening(settings)
        emit(
            fed_json(document, store, workers=workers),
            fed_text(document, store, workers=workers),
            as_json=flags["as_json"],
        )
        return 0
    return finish(store, flags, seconds_total=seconds_total)


def finish(
    store: Store,
    flags: dict[str, Any],
    *,
    seconds_total: float = 0.0,
    also: Mapping[str, Any] | None = None,
    first: str = "",
) -> int:
    """Print what the manifest says, with what the command did: ``also`` in the object, ``first`` before the text.

    Raises IncompleteError where the run could not be sealed.
    """
    head = read_head(store)
    assert head is not None, "a finished run has a manifest; this is a bug"
    summary = replace(head.summary, out=str(store.root))
    peak = head.statistics.get("redis_peak_bytes", 0)
    document = load_document(store)
    assert document is not None, "a finished run has a document; this is a bug"
    value = summary_json(
        summary, head.proof, document.spec.long, seconds_total=seconds_total, redis_peak_bytes=peak
    ) | dict(also or {})
    if summary.state == "sealed":
        emit(value, first + summary_text(value), as_json=flags["as_json"])
        return 0
    error = _not_sealed(summary, head.max_quarantined)
    if not flags["as_json"]:
        raise error
    emit({**value, "error": fault(error)}, "", as_json=True)
    return error.exit_code


def _not_sealed(summary: Summary, limit: str) -> IncompleteError:
    """Why a finished run has no ``_SUCCESS``, and what to do about it."""
    if summary.dead_letter_documents:
        return IncompleteError(
            f"The run is finished but not sealed: {summary.dead_letter_documents:,} of {summary.documents:,} documents "
            f"are in batches that failed again and again ({summary.out}/{MANIFEST} lists them).",
            f"The workers' messages say why; `penstock resume {summary.out}` tries them again.",
        )
    return IncompleteError(
        f"The run is finished but not sealed: {summary.quarantined:,} of {summary.documents:,} documents are in "
        f"quarantine, --max-quarantined is {limit}.",
        f"`penstock quarantine list {summary.out}` says why; "
        f"`penstock resume {summary.out} --max-quarantined {summary.quarantined}` seals it all the same.",
    )


def documents_there(store: Store, document: RunDocument) -> int:
    """About how many documents earlier commands have committed."""
    return sum(1 for _ in store.scan(DATA)) * document.spec.batch_documents


def _listening(settings: Settings) -> int:
    """The worker processes on the Redis of the settings."""
    url = address.client_url(settings.broker_url or "")
    with contextlib.closing(connect(url, settings.redis_timeout_s)) as client:
        return len(live_workers(client))


def _quieter(settings: Settings) -> Settings:
    """Settings for the workers: parts that are committed need no line each where the progress is shown."""
    if settings.log_level is LogLevel.INFO:
        return settings.model_copy(update={"log_level": LogLevel.WARNING})
    return settings


@contextlib.contextmanager
def _spooling_nowhere() -> Iterator[Path]:
    """A folder for standard input that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="penstock-") as folder:
        yield Path(folder)


def _spec_there(out: Path) -> RunSpec | None:
    document = load_document(Store(out)) if out.is_dir() else None
    return document.spec if document else None
