"""``penstock quarantine``: what was rejected, and why; and another try."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import click

from pipelines.documents import Reason
from pipelines.parts.quarantine import read_run
from pipelines.parts.replay_mark import check_replayable, replay_command
from tasks.runs import load_run, locked
from worker import gpu, logs
from worker.cli.leading import finish
from worker.cli.options import Command, devices_option, result_options
from worker.cli.output import counted, emit
from worker.cli.progress import ProgressBar
from worker.cli.replaying import IN_THIS_PROCESS, replay_watched
from worker.session import signals_raise
from worker.settings import load, pin_this_process


def _arguments(command: Command) -> Command:
    folder = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
    reason = click.option(
        "--reason", metavar="CODE", type=click.Choice([str(reason) for reason in Reason]), help="Only these."
    )
    return folder(reason(result_options(command)))


@click.group()
def quarantine() -> None:
    """What was rejected, and why; and another try."""


@quarantine.command("list")
@_arguments
def list_(**flags: Any) -> None:
    """How many documents of DIR are in quarantine, by stage and reason."""
    counts = Counter((str(row.stage), str(row.reason)) for row in _rows(flags))
    rows = [{"stage": stage, "reason": reason, "documents": count} for (stage, reason), count in sorted(counts.items())]
    lines = [f"{row['documents']:>9,}  {row['stage']:<8} {row['reason']}" for row in rows]
    emit({"quarantine": rows}, "\n".join(lines) or "The quarantine is empty.", as_json=flags["as_json"])


@quarantine.command()
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many.")
@_arguments
def show(**flags: Any) -> None:
    """The documents of DIR that are in quarantine, one by one."""
    rows = list(islice(_rows(flags), flags["limit"]))
    lines = [
        f"{row.id}\n  {row.origin.uri}, line {row.origin.line}, offset {row.origin.offset}\n"
        f"  {row.stage}: {row.reason}: {row.detail}\n  {' '.join(row.excerpt.split())[:100]}"
        for row in rows
    ]
    values = [{**row._asdict(), **row.origin._asdict()} for row in rows]
    for value in values:
        del value["origin"]
    emit({"quarantine": values}, "\n".join(lines) or "The quarantine is empty.", as_json=flags["as_json"])


@quarantine.command()
@devices_option
@click.option(IN_THIS_PROCESS, is_flag=True, hidden=True)
@_arguments
def replay(**flags: Any) -> int:
    """Extract the documents of DIR that are in quarantine again, and seal the run anew.

    A document that kills the process which tries it, or hangs, is set aside. What was rejected while reading (bad_json,
    empty_text, …) stays: the corpus of a run does not change.
    """
    reason = Reason(flags["reason"]) if flags["reason"] else None
    check_replayable(reason)
    settings = load(devices=flags["devices"], log_level="debug" if flags["debug"] else None)
    logs.configure(settings)
    store, document = load_run(flags["folder"].absolute())
    if not flags["in_this_process"]:
        return replay_watched(_again(flags), store, settings.hang_limit_s)
    slot = gpu.slots(settings.devices)[0]
    if slot.is_gpu:
        pin_this_process(slot.environment)
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        stack.enter_context(signals_raise(f"`{replay_command(store.root, reason)}` goes on."))
        stack.enter_context(locked(store, command="quarantine replay", broker_url=None))
        bar = stack.enter_context(ProgressBar(quiet=flags["as_json"]))
        from pipelines.replay import replay as replay_run

        done = replay_run(
            store,
            document,
            reason=reason,
            device="cuda" if slot.is_gpu else "cpu",
            token_budget=settings.token_budget,
            on_part=bar.part,
        )
    failed = done.documents - done.recovered
    replayed = f"Replayed {counted(done.documents, 'document')}"
    first = f"{replayed}: {done.recovered:,} have a row now, {failed:,} failed again.\n"
    seconds_total = time.monotonic() - started
    return finish(store, flags, seconds_total=seconds_total, also={"replayed": asdict(done)}, first=first)


def _again(flags: dict[str, Any]) -> list[str]:
    """The arguments of the command with these flags."""
    named = [("--reason", flags["reason"]), ("--devices", flags["devices"])]
    given = [word for option, value in named if value is not None for word in (option, str(value))]
    given += [option for option, on in (("--json", flags["as_json"]), ("--debug", flags["debug"])) if on]
    return ["quarantine", "replay", str(flags["folder"]), *given]


def _rows(flags: dict[str, Any]) -> Any:
    store, _ = load_run(flags["folder"].absolute())
    return (row for _, row in read_run(store) if not flags["reason"] or row.reason == flags["reason"])
