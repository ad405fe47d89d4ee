"""``penstock doctor``: whether this machine can do what a run needs, one line each, with what to change."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pipelines.spec import Dtype
from tasks.runs import refuse_foreign
from worker import logs
from worker.cli.doctor_machine import cores, device_slots, find_model, model_found, number_format, software
from worker.cli.doctor_redis import redis_in_use
from worker.cli.doctor_storage import free_space, storage
from worker.cli.findings import Finding, State, examined, line
from worker.cli.options import broker_option, devices_option, result_options
from worker.cli.output import emit
from worker.settings import load

NOT_READY = 3
USUAL_WIDTH = 768
"""Numbers in a vector of the base models, where no model is named."""


@click.command(short_help="Say what this machine lacks for a run.")
@click.argument("corpus", nargs=-1, metavar="[CORPUS...]")
@click.option("--out", type=click.Path(path_type=Path), default=None, help="The folder a run would write to.")
@click.option("--model", default=None, help="The checkpoint a run would use.")
@click.option(
    "--dtype", default="auto", type=click.Choice([str(dtype) for dtype in Dtype]), help="The numbers it would use."
)
@broker_option
@devices_option
@result_options
def doctor(**flags: Any) -> None:
    """Look at Redis, storage, devices and model, and say what to change. Exits 3 where a run would fail.

    With a CORPUS, also whether its rows would fit.
    """
    logs.configure(load(log_level="debug" if flags["debug"] else "error"))  # what matters is in the findings
    settings = load(broker_url=flags["broker"], devices=flags["devices"])
    out = flags["out"] or Path.cwd()
    width = USUAL_WIDTH

    def model() -> list[Finding]:
        nonlocal width
        found = find_model(flags["model"])
        width = found.hidden_size
        return model_found(found)

    def folder() -> list[Finding]:
        if flags["out"] is not None:  # that the current folder is somebody else's is no wonder
            refuse_foreign(out)
        return storage(out)

    looks: list[tuple[str, Callable[[], list[Finding]]]] = [
        ("software", software),
        ("redis", lambda: redis_in_use(settings)),
        ("devices", lambda: device_slots(settings)),
        ("cores", cores),
        ("torch", lambda: number_format(settings, Dtype(flags["dtype"]))),
        ("storage", folder),
        *([("model", model)] if flags["model"] is not None else []),
        ("space", lambda: free_space(out, flags["corpus"], width)),
    ]
    findings = [finding for name, look in looks for finding in examined(name, look)]
    ready = all(finding.state is not State.FAIL for finding in findings)
    report = {"ready": ready, "findings": [finding._asdict() for finding in findings]}
    emit(report, "\n".join(map(line, findings)), as_json=flags["as_json"])
    if not ready:
        sys.exit(NOT_READY)
