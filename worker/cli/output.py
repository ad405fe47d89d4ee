"""What a command says: its result on stdout, as text or as one JSON object; everything else goes to stderr."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

import click
import orjson

from pipelines.errors import PenstockError
from worker import logs


def emit(value: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """Print a result: the JSON object alone, or the text for a person."""
    if as_json:
        sys.stdout.write(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE, default=_plain).decode())
    else:
        click.echo("\n".join(map(printable, text.split("\n"))))
    sys.stdout.flush()


def emit_error(error: PenstockError, *, as_json: bool) -> None:
    """One line on stderr, or with --json an object on stdout."""
    if as_json:
        sys.stdout.write(orjson.dumps({"error": fault(error)}, option=orjson.OPT_APPEND_NEWLINE).decode())
        sys.stdout.flush()
    else:
        click.echo(f"penstock: {printable(logs.clean(str(error)))}", err=True)


def printable(text: str) -> str:
    """A text that stays on its line and does not talk to the terminal: names of files and ids may hold anything."""
    return "".join(letter if letter.isprintable() or letter == "\t" else repr(letter)[1:-1] for letter in text)


def fault(error: PenstockError) -> dict[str, str]:
    """An error as the value of the key ``error``."""
    return {"code": error.code, "message": logs.clean(error.message), "hint": logs.clean(error.hint)}


def counted(number: int, one: str, several: str = "") -> str:
    """``1 part``, ``2,000 parts``."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def thousands(number: float) -> str:
    """``12,345``, or ``1.5`` for small fractions."""
    return f"{number:,.0f}" if number >= 10 or float(number).is_integer() else f"{number:,.1f}"


def in_bytes(number: float) -> str:
    """A size for a person: ``1.5 GiB``."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:,.0f} {unit}" if unit == "bytes" else f"{number:,.1f} {unit}"
        number /= 1024
    return f"{number:,.1f} TiB"


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value)
