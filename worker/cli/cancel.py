"""``penstock cancel``: end a run, from any terminal; what is committed stays."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import click

from pipelines.errors import InfrastructureError, InputError, SurroundingsError, UsageError
from pipelines.parts.layout import SUCCESS
from pipelines.parts.replay_mark import read_mark, replay_command
from pipelines.parts.store import Store
from tasks.lead import is_led
from tasks.ledger import Ledger
from tasks.runs import is_locked, live_command, load_run
from worker.cli.options import broker_option, result_options
from worker.cli.output import counted, emit
from worker.cli.whereabouts import broker_of, folders, reach
from worker.settings import Settings, load

PATIENCE_S = 60.0
"""How long the micro-batches at hand, and the command that leads the run, are waited for."""
POLL_S = 0.1


@click.command(short_help="End a run; what is committed stays.")
@click.argument("which", metavar="DIR|RUN")
@broker_option
@result_options
def cancel(**flags: Any) -> int:
    """End the run in DIR (or by its id): its workers stop after the micro-batch at hand, what is committed stays."""
    settings = load(broker_url=flags["broker"])
    if not flags["which"]:
        raise UsageError("No run is named.", "`penstock status` lists the known ones.")
    ((run, folder),) = folders(flags["which"], settings).items()
    store: Store | None = None
    if run == "" or folder.is_dir():
        store, document = load_run(folder)
        if run not in ("", document.run):
            raise InputError(
                f"Run {run} is gone, {folder} holds another one.", "`penstock status` lists what there is."
            )
        run = document.run  # and what only other machines see can still be cancelled in its Redis
    if store is not None and store.exists(SUCCESS) and not _is_held_without_redis(store):  # by a replay
        raise InputError(f"The run in {store.root} is sealed, there is nothing to cancel.")
    at_work = _ended(store, run, folder, settings)
    value = {"run": run, "out": str(folder), "state": "cancelled", "still_at_work": sorted(at_work)}
    text = f"Cancelled; {_what_next(store, folder)}"
    if at_work:
        text += f" {counted(len(at_work), 'worker')} did not end the micro-batch at hand in {PATIENCE_S:.0f} s."
    emit(value, text, as_json=flags["as_json"])
    return 0


def _is_held_without_redis(store: Store) -> bool:
    live = live_command(store) if is_locked(store) else None
    return live is not None and live.get("broker_url") is None


def _what_next(store: Store | None, folder: Path) -> str:
    if store is not None and store.exists(SUCCESS):
        return "the dataset stays sealed."
    mark = read_mark(store) if store is not None else None
    if mark is None:
        return f"`penstock resume {folder}` goes on."
    return f"`{replay_command(folder, mark.reason)}` goes on; `penstock resume {folder}` seals what is there."


def _ended(store: Store | None, run: str, folder: Path, settings: Settings) -> set[str]:
    """End a run and wait until nobody works on it; returns the workers that do all the same."""
    live = live_command(store) if store is not None and is_locked(store) else None
    if store is not None and live is not None and live.get("broker_url") is None:
        _interrupt(store, live)
        _wait_for_command(store)
        return set()
    client = reach(settings.broker_url if store is None else broker_of(store, run, settings))
    if client is None:
        raise InputError(f"Nothing works on the run in {folder} that could be reached.", "Is --broker missing?")
    with contextlib.closing(client):
        ledger = Ledger(client, run)
        state = ledger.state().state
        if state == "running":
            ledger.set_state("cancelled")
        elif state != "cancelled":
            raise InputError(f"The run in {folder} is not running.", "`penstock status` says how it stands.")
        try:
            at_work = _left_at_work(ledger, store)
        except InfrastructureError:
            if store is None or live is None:
                raise
            _wait_for_command(store)  # its own Redis has gone with it
            at_work = set()
    if state == "cancelled" and not at_work:
        raise InputError(f"The run in {folder} is cancelled already.", f"`penstock resume {folder}` goes on.")
    return at_work


def _left_at_work(ledger: Ledger, store: Store | None) -> set[str]:
    """Wait until nobody works on a cancelled run and nobody leads it, then clear it away; who works on all the same."""
    deadline = time.monotonic() + PATIENCE_S
    while (at_work := ledger.holders()) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    if store is not None:
        _wait_for_command(store)
    while is_led(ledger.client, ledger.run) and time.monotonic() < deadline + PATIENCE_S:
        time.sleep(POLL_S)  # a supervisor that leads it looks every few seconds, a dead one's lease runs out
    if not is_led(ledger.client, ledger.run) and ledger.state().state == "cancelled":
        ledger.forget("cancelled")  # nobody else tidies up: Redis would keep the bodies for ever
    return at_work


def _wait_for_command(store: Store) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while is_locked(store):
        if time.monotonic() > deadline:
            raise SurroundingsError(f"The command on {store.root} did not end in {PATIENCE_S:.0f} s.")
        time.sleep(POLL_S)


def _interrupt(store: Store, live: dict[str, Any]) -> None:
    """Interrupt a command that works without Redis, as Ctrl-C does; only where it runs can that be done."""
    who = f"`penstock {live['command']}` (process {live['pid']} on {live['host']})"
    if live["host"] != socket.gethostname():
        raise SurroundingsError(f"{store.root} is held by {who}, without Redis.", f"Cancel it on {live['host']}.")
    try:
        os.kill(int(live["pid"]), signal.SIGINT)
    except OSError as error:
        raise SurroundingsError(f"{who} cannot be interrupted: {error.strerror}.", "Is it another user's?") from error
