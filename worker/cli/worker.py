"""``penstock worker``: one supervised, pinned worker process per device, on a Redis that others feed."""

from __future__ import annotations

from typing import Any

import click

from pipelines.errors import UsageError
from worker import gpu, logs
from worker.cli.options import broker_option, devices_option, result_options
from worker.service import serve_workers
from worker.settings import load


@click.command(short_help="Work on what others submit, one process per device.")
@devices_option
@broker_option
@result_options
def worker(**flags: Any) -> None:
    """Work on the batches of an existing Redis until interrupted; one process per device.

    Also reconciles and seals the runs that have no live leader. SIGTERM or Ctrl-C ends it in order, with code 0.
    """
    settings = load(broker_url=flags["broker"], devices=flags["devices"], log_level="debug" if flags["debug"] else None)
    logs.configure(settings)
    if settings.broker_url is None:
        raise UsageError("worker needs a Redis to listen to.", "Name it by --broker or PENSTOCK_BROKER_URL.")
    serve_workers(settings, gpu.slots(settings.devices))
