"""``penstock verify``: recompute everything that the manifest says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipelines.errors import VerificationError
from pipelines.parts.layout import MANIFEST, SUCCESS
from pipelines.parts.verify import MENDED_BY_RESUME
from pipelines.parts.verify import verify as differences_of
from tasks.runs import load_run, status
from worker.cli.options import result_options
from worker.cli.output import emit, fault

SHOWN = 10
_UNFINISHED = (f"{MANIFEST} is missing", f"{SUCCESS} is missing", "The plan is not sealed")
"""How differences begin that a run has until it is sealed."""


@click.command(short_help="Recompute everything that the manifest says.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@result_options
def verify(**flags: Any) -> int:
    """Recompute digests, counts and coverage of the dataset in DIR; exit 6 where anything differs."""
    store, document = load_run(flags["folder"].absolute())
    differences = differences_of(store)
    value = {"out": str(store.root), "verified": not differences, "differences": differences}
    if not differences:
        emit(value, f"{store.root}: everything is as its manifest says.", as_json=flags["as_json"])
        return 0
    more = f" (and {len(differences) - SHOWN:,} more)" if len(differences) > SHOWN else ""
    hint = "Remove what is damaged or foreign, and _SUCCESS; then `penstock resume` makes what is missing."
    if not store.exists(SUCCESS) and all(line.startswith(_UNFINISHED) for line in differences):
        hint = f"It is not finished: `penstock resume {store.root}` goes on; `penstock status` says how far it is."
    if store.exists(SUCCESS) and all(line.endswith(MENDED_BY_RESUME) for line in differences):
        hint = f"`penstock resume {store.root}` mends that."
    if replay := status(store, document, None).replay:
        hint = f"`{replay}` goes on; `penstock resume {store.root}` seals what is there."
    message = f"{store.root}: {'; '.join(line.rstrip('.') for line in differences[:SHOWN])}{more}."
    error = VerificationError(message, hint)
    if not flags["as_json"]:
        raise error
    emit({**value, "error": fault(error)}, "", as_json=True)
    return error.exit_code
