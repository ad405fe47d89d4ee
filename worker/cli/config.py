"""``penstock config show``: every setting in force and where it came from."""

from __future__ import annotations

import click

from worker.cli.options import broker_option, devices_option, result_options
from worker.cli.output import emit
from worker.settings import Sourced, load, sources


@click.group()
def config() -> None:
    """The settings in force."""


@config.command(short_help="Print every setting and where it comes from.")
@broker_option
@devices_option
@result_options
def show(broker: str | None, devices: str | None, as_json: bool, debug: bool) -> None:
    """Print every setting with its source: a flag, an environment variable, a file, or the default.

    Settings change speed and place, never results. They are read from PENSTOCK_… variables, then from penstock.toml in
    the working folder, then from penstock/penstock.toml in your configuration folder.
    """
    found = sources(load(broker_url=broker, devices=devices, log_level="debug" if debug else None))
    document = {key: sourced._asdict() for key, sourced in found.items()}
    emit(document, "\n".join(_line(key, sourced) for key, sourced in found.items()), as_json=as_json)


def _line(key: str, sourced: Sourced) -> str:
    value = "-" if sourced.value is None else sourced.value
    return f"{key:<26} {value!s:<24} {sourced.source}"
