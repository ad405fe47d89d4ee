"""``penstock quarantine``: what was rejected, and why."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import click

from pipelines.documents import Reason
from pipelines.parts.quarantine import read_run
from tasks.runs import load_run
from worker.cli.options import Command, result_options
from worker.cli.output import emit


def _arguments(command: Command) -> Command:
    folder = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
    reason = click.option(
        "--reason", metavar="CODE", type=click.Choice([str(reason) for reason in Reason]), help="Only these."
    )
    return folder(reason(result_options(command)))


@click.group()
def quarantine() -> None:
    """What was rejected, and why."""


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


def _rows(flags: dict[str, Any]) -> Any:
    store, _ = load_run(flags["folder"].absolute())
    return (row for _, row in read_run(store) if not flags["reason"] or row.reason == flags["reason"])
