"""Which run a command is about, and at which Redis it may be."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import redis

from pipelines.errors import InputError, RunError
from pipelines.parts.store import Store
from tasks.client import connect
from tasks.ledger import known_runs
from tasks.runs import is_locked, live_command
from worker import address
from worker.remembered import last_broker, remembered
from worker.settings import Settings


def folders(which: str | None, settings: Settings) -> dict[str, Path]:
    """Run → folder: the folder that was named (its run is not looked up), or of the run that was, or all known ones."""
    if which and os.path.isdir(which):  # Path's own raises where the name is too long to be one
        return {"": Path(which).absolute()}
    known = remembered()
    if settings.broker_url:
        with contextlib.closing(connect(address.client_url(settings.broker_url))) as client:
            known |= {run: Path(folder) for run, folder in known_runs(client).items()}
    if not which:
        return known
    matches = {run: folder for run, folder in known.items() if run.startswith(which)}
    if len(matches) != 1:
        what = "no folder, and no run known here begins so" if not matches else "the beginning of several runs"
        raise InputError(f"{which} is {what}.", "`penstock status` lists the known ones.")
    return matches


def broker_of(store: Store, run: str, settings: Settings) -> str | None:
    """The Redis to ask about a run: its live command's, else the settings', else the one it was last fed into."""
    live = live_command(store) if is_locked(store) else None
    url = (live or {}).get("broker_url") or settings.broker_url
    if url is None and "***" not in (fed := last_broker(run)):
        return fed or None
    return url


def reach(url: str | None) -> redis.Redis | None:
    """A client of a Redis; None where there is none that answers."""
    if url is None:
        return None
    try:
        address.check(url)
    except RunError:
        return None
    return connect(address.client_url(url))
