"""Puts the failpoints into the code, from outside; what is not armed goes on as it would.

A worker's processes import this by ``PENSTOCK_INCLUDE``, commands by ``chaos.launcher``.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery.signals import task_postrun
from chaos.failpoints import REGISTRY, Journey, in_hand, journey_of, reach, slept, take_up
from chaos.noop_model import NoopExtractor

from pipelines.parts import manifest, quarantine, receipts, sink, store
from pipelines.parts.layout import MANIFEST, PLAN, PLAN_SEALED, QUARANTINE, SUCCESS
from tasks import acknowledge, extract, flight
from tasks.ledger import Ledger
from tasks.reconcile import Reconciler
from tasks.transport import Bodies


def _wrap(owner: Any, name: str, before: Callable[..., Any] | None, after: Callable[..., Any] | None = None) -> None:
    function = getattr(owner, name)

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        if before is not None:
            before(*arguments)
        result = function(*arguments, **options)
        if after is not None:
            after(*arguments)
        return result

    setattr(owner, name, call)


def _at(name: str) -> Callable[..., None]:
    return lambda *_: reach(name)


def _by_file(names: dict[str, str], argument: int = 1) -> Callable[..., None]:
    """A point for each beginning of a file's name, folder included."""

    def look(*arguments: Any) -> None:
        path = "/".join(Path(arguments[argument]).parts[-2:])
        for beginning, point in names.items():
            if path.startswith(beginning):
                reach(point)

    return look


def _register(ledger: Ledger, folder: str) -> None:
    if (Path(folder).parent / "armed").exists():
        (REGISTRY / ledger.run).write_text(str(Path(folder).parent))


def _receive(_: Any, run: str, batch: int) -> None:
    take_up(journey_of("child", run, batch))


def _lose_one(journey: Journey | None) -> bool:
    """So that there is something to publish again, one message of a journey is lost."""
    if journey is None or journey.armed()[0] != "lost-unrepublished" or (journey.folder / "lost").exists():
        return False
    journey.note("lost")
    return True


def _send(function: Callable[..., None], *arguments: Any) -> None:
    reach("noted-unsent")
    if not _lose_one(in_hand()):
        function(*arguments)
    reach("sent")


def _sync(function: Callable[..., None], descriptor: int) -> None:
    if _writing_part:
        reach("part-unsynced")
    function(descriptor)


_writing_part = False


def _write_part(function: Callable[..., Any], *arguments: Any) -> Any:
    global _writing_part
    _writing_part = True
    try:
        return function(*arguments)
    finally:
        _writing_part = False


def _at_message(name: str) -> Callable[..., None]:
    """A point of Celery's parent: whose message it is, its task's id ``RUN:BATCH`` tells."""

    def look(qos: Any, *arguments: Any) -> None:
        message = arguments[0] if len(arguments) > 1 else qos._delivered.get(arguments[0])
        if message is not None:
            run, _, batch = str(message.headers["id"]).rpartition(":")
            reach(name, journey_of("parent", run, int(batch)))

    return look


@task_postrun.connect(weak=False)
def _ended(*_: Any, **__: Any) -> None:
    if (journey := slept()) is not None:
        journey.note("ended")


_wrap(Ledger, "open", _register)
_wrap(store.Store, "put_if_absent", _by_file({f"{PLAN}/seg": "segment-unwritten", PLAN_SEALED: "plan-unsealed"}))
_wrap(store.Store, "put_if_absent", _by_file({QUARANTINE: "evidence-unwritten"}))
_wrap(
    store,
    "_link_if_absent",
    _by_file({f"{PLAN}/seg": "segment-unlinked", "data/": "part-unlinked"}),
    _by_file({f"{PLAN}/seg": "segment-unsynced", "data/": "part-linked", f"out/{MANIFEST}": "manifest-unsynced"}),
)
_wrap(flight.Publisher, "publish", _at("planned-unpublished"))
_wrap(Ledger, "publish", _at("body-unnoted"))
flight.send_batch = functools.partial(_send, flight.send_batch)
_wrap(Reconciler, "_republish", _at("lost-unrepublished"))
_wrap(manifest._Audit, "_record", _at("seal-midway"))
_wrap(manifest, "write", _at("manifest-unwritten"))
_wrap(os, "replace", None, lambda _, target: reach("manifest-unsynced") if Path(target).name == MANIFEST else None)
_wrap(store.Store, "replace", lambda _, name, *__: reach("success-unwritten") if name == SUCCESS else None)
_wrap(Ledger, "forget", _at("sealed-unforgotten"))

_wrap(acknowledge.SafeQoS, "append", _at_message("popped-unnoted"))
_wrap(acknowledge.SafeQoS, "ack", _at_message("done-unacknowledged"))
_wrap(extract, "_prepare", _receive)
_wrap(extract, "_finish", None, _ended)
_wrap(Ledger, "claim", _at("received-unclaimed"), _at("claimed"))
_wrap(Bodies, "get", None, _at("body-read"))
_wrap(NoopExtractor, "take", _at("forward"))
_wrap(quarantine, "write", None, _at("evidence-written"))
sink._write_part = functools.partial(_write_part, sink._write_part)
os.fsync = functools.partial(_sync, os.fsync)
_wrap(receipts, "write", _at("committed-unreceipted"))
_wrap(Bodies, "drop", _at("receipted-undropped"))
_wrap(Ledger, "close", _at("dropped-unclosed"))
