"""``penstock submit``: open a run and feed it into a Redis whose workers do the rest."""

from __future__ import annotations

from typing import Any

import click

from pipelines.errors import UsageError
from pipelines.spec import Dtype
from tasks.client import connect
from tasks.fleet import live_workers
from worker import address, logs
from worker.cli.leading import BATCH_DOCUMENTS_CPU, BATCH_DOCUMENTS_GPU, lead_opened, limit_of, opened_run
from worker.cli.options import broker_option, result_options, spec_options, transport_option
from worker.settings import load


@click.command(short_help="Feed a run to the workers of an existing Redis.")
@spec_options
@broker_option
@transport_option
@click.option("--wait", is_flag=True, help="Stay until the dataset is sealed.")
@result_options
def submit(**flags: Any) -> int:
    """Open a run over CORPUS and feed it to the workers of an existing Redis.

    Ends when everything is planned and published, or with --wait when the dataset is sealed.
    """
    settings = load(broker_url=flags["broker"], log_level="debug" if flags["debug"] else None)
    logs.configure(settings)
    if settings.broker_url is None:
        raise UsageError("submit needs a Redis that workers listen to.", "Name it by --broker or PENSTOCK_BROKER_URL.")
    address.check(settings.broker_url)
    client = connect(address.client_url(settings.broker_url), settings.redis_timeout_s)
    on_gpus = any(worker.device != "cpu" for worker in live_workers(client))
    client.close()
    opened = opened_run(
        flags,
        dtype=lambda: Dtype.BFLOAT16,
        batch_documents=BATCH_DOCUMENTS_GPU if on_gpus else BATCH_DOCUMENTS_CPU,
    )
    if opened is None:
        return 0
    return lead_opened(
        settings,
        opened,
        command="submit",
        slots=[],
        flags=flags,
        until_sealed=flags["wait"],
        limit=limit_of(opened.document, flags),
    )
