"""``penstock run``: the whole job in one command."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import click

from pipelines.parts.cancellation import take_back_cancellation
from pipelines.parts.layout import SUCCESS
from pipelines.parts.limit import Limit
from tasks.runs import locked
from worker import address, gpu, logs
from worker.cli.leading import (
    BATCH_DOCUMENTS_CPU,
    BATCH_DOCUMENTS_GPU,
    Opened,
    documents_there,
    finish,
    lead_opened,
    limit_of,
    opened_run,
    settings_of,
)
from worker.cli.mending import mend_sealed
from worker.cli.options import (
    broker_option,
    devices_option,
    once_option,
    proof_option,
    result_options,
    spec_options,
    transport_option,
)
from worker.cli.progress import ProgressBar
from worker.remembered import remember
from worker.session import proof_of, signals_raise
from worker.settings import Settings, pin_this_process


@click.command(short_help="Turn a corpus into a sealed dataset: all in one command.")
@spec_options
@devices_option
@broker_option
@transport_option
@proof_option
@once_option
@click.option("--inline", is_flag=True, help="Everything in this process: no Redis, no workers.")
@result_options
def run(**flags: Any) -> int:
    """Turn CORPUS into a sealed Parquet dataset: Redis, workers, feeding, progress and seal in one command.

    CORPUS: files, folders, globs, or - for standard input. Started again with the same spec, it resumes.
    """
    settings = settings_of(flags)
    logs.configure(settings)
    slots = gpu.slots(settings.devices)
    if settings.broker_url is not None and not flags["inline"]:
        address.check(settings.broker_url, or_embedded=True)  # before the folder is taken
    opened = opened_run(
        flags,
        dtype=lambda: gpu.probe_dtype(slots, settings),
        batch_documents=BATCH_DOCUMENTS_GPU if slots[0].is_gpu else BATCH_DOCUMENTS_CPU,
    )
    if opened is None:
        return 0
    limit = limit_of(opened.document, flags)
    mend_sealed(*opened, limit)
    if flags["inline"]:
        return run_inline_opened(opened, slots[0], settings, flags=flags, limit=limit)
    return lead_opened(settings, opened, command="run", slots=slots, flags=flags, until_sealed=True, limit=limit)


def run_inline_opened(
    opened: Opened, slot: gpu.Slot, settings: Settings, *, flags: dict[str, Any], limit: Limit
) -> int:
    """Make and seal the dataset of an opened run without Redis and workers, in this process.

    A sealed one is only printed.
    """
    store, document = opened
    remember(document.run, store.root)
    if store.exists(SUCCESS):
        return finish(store, flags)
    if slot.is_gpu:
        pin_this_process(slot.environment)
    from pipelines.inline import run_inline

    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        stack.enter_context(signals_raise(f"`penstock resume {store.root}` goes on."))
        stack.enter_context(locked(store, command="run --inline", broker_url=None))
        take_back_cancellation(store, document.run)
        bar = stack.enter_context(ProgressBar(quiet=flags["as_json"], already=documents_there(store, document)))
        run_inline(
            store,
            document,
            device="cuda" if slot.is_gpu else "cpu",
            token_budget=settings.token_budget,
            limit=limit,
            on_part=bar.part,
            proof=proof_of(settings),
            once=settings.once,
        )
    return finish(store, flags, seconds_total=time.monotonic() - started)
