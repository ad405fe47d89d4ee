"""``penstock resume``: go on with the run of a folder; everything but place comes from the folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipelines.corpus import check_unchanged
from pipelines.parts.layout import SUCCESS
from tasks.runs import load_run
from worker import gpu, logs
from worker.cli.leading import Opened, finish, lead_opened, limit_of, sent_by, settings_of
from worker.cli.mending import mend_sealed
from worker.cli.options import (
    broker_option,
    devices_option,
    once_option,
    proof_option,
    result_options,
    transport_option,
)
from worker.cli.run import run_inline_opened


@click.command(short_help="Go on with a run.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@devices_option
@broker_option
@transport_option
@proof_option
@once_option
@click.option("--inline", is_flag=True, help="Everything in this process: no Redis, no workers.")
@click.option("--max-quarantined", metavar="N|P%", help="Another limit than the one the run was opened with.")
@result_options
def resume(**flags: Any) -> int:
    """Go on with the run in DIR; a sealed one is looked at, mended where its seal is damaged, and printed."""
    settings = settings_of(flags)
    logs.configure(settings)
    store, document = load_run(flags["folder"].absolute())
    opened, limit = sent_by(Opened(store, document), flags), limit_of(document, flags)
    mend_sealed(store, document, limit)
    if store.exists(SUCCESS):
        return finish(store, flags)
    check_unchanged(document.spec.corpus)
    slots = gpu.slots(settings.devices)
    if flags["inline"]:
        return run_inline_opened(opened, slots[0], settings, flags=flags, limit=limit)
    return lead_opened(settings, opened, command="resume", slots=slots, flags=flags, until_sealed=True, limit=limit)
