"""``penstock status``: how runs stand, from any terminal."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from pipelines.errors import InputError, PenstockError, RunError
from tasks.fleet import live_workers
from tasks.runs import Status, load_run
from tasks.runs import status as status_of
from worker import address
from worker.cli.options import broker_option, result_options
from worker.cli.output import counted, emit
from worker.cli.whereabouts import broker_of, folders, reach
from worker.remembered import last_broker
from worker.settings import Settings, load

WATCH_INTERVAL_S = 2.0
UNKNOWN = "unknown"
"""The state of a run that another Redis, not asked, may be at."""


@click.command(short_help="How runs stand.")
@click.argument("which", metavar="[DIR|RUN]", required=False)
@broker_option
@click.option(
    "--watch", is_flag=True, help="Again every two seconds, until the run is over; with --json once, when it is."
)
@result_options
def status(**flags: Any) -> int:
    """How the run in DIR (or by its id) stands; without an argument, all runs known here."""
    settings = load(broker_url=flags["broker"])
    while True:
        known = folders(flags["which"], settings)
        if flags["which"]:
            found = [_status(folder, settings) for folder in known.values()]
        else:
            listed = [(run, _status_or_gone(run, folder, settings)) for run, folder in known.items()]
            found = [one for run, one in listed if one[0].run == run]  # a folder may hold a later run by now
        last = not flags["watch"] or all(one.state != "running" for one, _ in found)
        if flags["as_json"] and not last:
            pass  # one object on stdout: the one that stays true
        elif flags["which"]:
            emit(_as_json(*found[0]), _text(*found[0]), as_json=flags["as_json"])
        else:
            values = [_as_json(*one) for one in found]
            lines = [f"{one.state:<11}  {one.run}  {counted(one.committed, 'part'):>13}  {one.out}" for one, _ in found]
            emit({"runs": values}, "\n".join(lines) or "No runs are known here.", as_json=flags["as_json"])
        if last:
            return 0
        time.sleep(WATCH_INTERVAL_S)


def _status(folder: Path, settings: Settings) -> tuple[Status, int | None]:
    """How a run stands, and how many worker processes listen to its Redis; None where that cannot be asked."""
    store, document = load_run(folder)
    url, fed = broker_of(store, document.run, settings), last_broker(document.run)
    client = reach(url)
    try:
        one, workers = status_of(store, document, client), len(live_workers(client)) if client is not None else None
    except PenstockError:
        one, workers = status_of(store, document, None), None  # its Redis has gone with its command
    finally:
        if client is not None:
            client.close()
    asked = address.describe(url) if url is not None and one.ledger is not None else ""
    if one.state == "interrupted" and not one.replay and fed not in ("", asked):
        one = replace(one, state=UNKNOWN)
    return one, workers


def _status_or_gone(run: str, folder: Path, settings: Settings) -> tuple[Status, int | None]:
    """The same; where there is no such run any more, nor any that can be read, that is what is said of it."""
    try:
        return _status(folder, settings)
    except RunError as error:
        state = "gone" if isinstance(error, InputError) else "damaged"
        return Status(run, str(folder), state, False, 0, 0, None, None, None), None


def _as_json(one: Status, workers: int | None) -> dict[str, Any]:
    value = asdict(one)
    summary = value.pop("summary") or {}
    ledger = value.pop("ledger") or {}
    return {**summary, **value, "ledger": ledger, "live_workers": workers, "advice": _advice(one, workers)}


def _advice(one: Status, workers: int | None) -> str:
    """What to do about a run that does not go on by itself."""
    if one.replay:
        return f"A replay was interrupted: `{one.replay}` goes on; `penstock resume {one.out}` seals what is there."
    if one.state == UNKNOWN:
        return (
            f"Not known from here: it was fed into {last_broker(one.run)}; name that with --broker. "
            f"`penstock resume {one.out}` goes on here."
        )
    if one.state == "sealed" and one.committed < one.planned:
        missing = counted(one.planned - one.committed, "part")
        return f"{missing} missing: `penstock verify {one.out}` says which, and how to make what is missing."
    if one.state in ("interrupted", "cancelled", "failed"):
        return f"`penstock resume {one.out}` goes on."
    if one.state == "running" and not one.live and one.documents_planned is None:
        return f"Nobody reads its corpus any more: `penstock resume {one.out}` goes on, where the corpus can be seen."
    if one.state == "running" and not one.live and workers == 0:
        return "No worker listens to its Redis: `penstock worker` starts one."
    if one.state == "incomplete" and one.summary is not None and one.summary.dead_letter_documents:
        return f"Batches failed again and again: `penstock resume {one.out}` tries them again."
    if one.state == "incomplete":
        seal = f"`penstock resume {one.out} --max-quarantined {one.summary.quarantined if one.summary else 'N'}`"
        return f"`penstock quarantine list {one.out}` says why; {seal} seals it all the same."
    return ""


def _text(one: Status, workers: int | None) -> str:
    lines = [f"Run {one.run} in {one.out}: {one.state}"]
    if one.documents_planned is not None:
        documents = counted(one.documents_planned, "document")
        lines.append(f"  {one.committed:,} of {counted(one.planned, 'part')}; {documents}")
    else:
        planned = counted(one.planned, "part")
        lines.append(f"  {counted(one.committed, 'part')}; the corpus is read as far as {planned}")
    if one.ledger is not None and one.state == "running":
        counts = one.ledger
        done = f"{counted(counts.documents, 'document')}, {counted(counts.tokens, 'token')}"
        lines.append(f"  since the last start: {done}")
    if one.ledger is not None and one.ledger.message:
        lines.append(f"  {one.ledger.message}")
    if one.summary is not None:
        lines.append(f"  {counted(one.summary.rows, 'row')}, {one.summary.quarantined:,} in quarantine")
    if advice := _advice(one, workers):
        lines.append(f"  {advice}")
    return "\n".join(lines)
