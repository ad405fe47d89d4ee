"""``penstock verify``: recompute everything that the manifest says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipelines.errors import VerificationError
from pipelines.parts.verify import verify as differences_of
from tasks.runs import load_run
from worker.cli.options import result_options
from worker.cli.output import emit

SHOWN = 10


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@result_options
def verify(**flags: Any) -> int:
    """Recompute digests, counts and coverage of the dataset in DIR; exit 6 where anything differs."""
    store, _ = load_run(flags["folder"].absolute())
    differences = differences_of(store)
    value = {"out": str(store.root), "verified": not differences, "differences": differences}
    if differences and not flags["as_json"]:
        more = f" (and {len(differences) - SHOWN} more)" if len(differences) > SHOWN else ""
        raise VerificationError(f"{store.root}: {'; '.join(differences[:SHOWN])}{more}")
    emit(value, f"{store.root}: everything is as its manifest says.", as_json=flags["as_json"])
    return VerificationError.exit_code if differences else 0
