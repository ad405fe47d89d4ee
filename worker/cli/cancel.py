"""``penstock cancel``: end a run, from any terminal; what is committed stays."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any, NamedTuple

import click

from pipelines.errors import InfrastructureError, InputError, SurroundingsError, UsageError
from pipelines.parts.cancellation import is_cancelled, put_cancellation
from pipelines.parts.layout import SUCCESS
from pipelines.parts.replay_mark import read_mark, replay_command
from pipelines.parts.store import Store
from tasks.fleet import live_workers
from tasks.lead import is_led
from tasks.ledger import Ledger
from tasks.loading import loaders
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
    at_work, forgotten = _ended(store, run, folder, settings)
    value = {"run": run, "out": str(folder), "state": "cancelled", "still_at_work": sorted(at_work)}
    text = f"Cancelled; {_what_next(store, folder)}"
    if at_work:
        what = "the micro-batch at hand, or the loading of the model,"
        text += f" {counted(len(at_work), 'worker')} did not end {what} in {PATIENCE_S:.0f} s."
    if forgotten:
        text += " Redis was emptied meanwhile: its workers end after the micro-batch at hand, which was not seen."
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


class _Outcome(NamedTuple):
    """Workers that were not seen to end; ``forgotten`` where Redis was emptied meanwhile and knows none."""

    at_work: set[str]
    forgotten: bool = False


def _ended(store: Store | None, run: str, folder: Path, settings: Settings) -> _Outcome:
    """End a run and wait until nobody works on it."""
    live = live_command(store) if store is not None and is_locked(store) else None
    if store is not None and live is not None and live.get("broker_url") is None:
        _interrupt(store, live)
        _wait_for_command(store)
        return _Outcome(set())
    client = reach(settings.broker_url if store is None else broker_of(store, run, settings))
    if client is None:
        raise InputError(f"Nothing works on the run in {folder} that could be reached.", "Is --broker missing?")
    with contextlib.closing(client):
        ledger = Ledger(client, run)
        state = ledger.state().state
        if state == "unknown" and store is not None and is_cancelled(store, run):
            state = "cancelled"  # before Redis was emptied
        if state == "running" or (state == "unknown" and live is not None):
            if store is not None:
                with contextlib.suppress(InfrastructureError):  # another user's folder: Redis is told all the same
                    put_cancellation(store, run)
            ledger.set_state("cancelled")
        elif state != "cancelled":
            raise InputError(f"The run in {folder} is not running.", "`penstock status` says how it stands.")
        try:
            outcome = _left_at_work(ledger, store)
        except InfrastructureError:
            if store is None or live is None:
                raise
            _wait_for_command(store)  # its own Redis has gone with it
            outcome = _Outcome(set())
    if state == "cancelled" and not outcome.at_work:
        raise InputError(f"The run in {folder} is cancelled already.", f"`penstock resume {folder}` goes on.")
    return outcome


def _left_at_work(ledger: Ledger, store: Store | None) -> _Outcome:
    """Wait until nobody works on a cancelled run and nobody leads it, then clear it away; who works on all the same."""
    deadline, forgotten = time.monotonic() + PATIENCE_S, False
    while (at_work := _at_work(ledger)) and time.monotonic() < deadline:
        forgotten |= _tell_again(ledger, store)
        time.sleep(POLL_S)
    if store is not None:
        _wait_for_command(store)
    while is_led(ledger.client, ledger.run) and time.monotonic() < deadline + PATIENCE_S:
        time.sleep(POLL_S)  # a supervisor that leads it looks every few seconds, a dead one's lease runs out
    forgotten |= _tell_again(ledger, store)
    if not is_led(ledger.client, ledger.run) and ledger.state().state == "cancelled":
        ledger.forget("cancelled")  # nobody else tidies up: Redis would keep the bodies for ever
    return _Outcome(at_work, forgotten)


def _at_work(ledger: Ledger) -> set[str]:
    """Who has a batch of the run in hand, or loads its model for one. A dead worker's word for the second does not

    count: unlike a lease it does not run out.
    """
    loading = loaders(ledger.client, ledger.run)
    alive = {worker.owner for worker in live_workers(ledger.client)} if loading else set()
    return ledger.holders() | (loading & alive)


def _tell_again(ledger: Ledger, store: Store | None) -> bool:
    """Redis may have lost its memory, or fallen back to an older one; the folder knows as long as nobody resumes."""
    if store is None or not is_cancelled(store, ledger.run) or (state := ledger.state().state) == "cancelled":
        return False
    if state in ("running", "unknown"):
        ledger.set_state("cancelled")
    return True


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
