"""Documents that kill, hang, exhaust or lose the device: named by PENSTOCK_INCLUDE, imported by a child in tests only.

A text that holds ``poison:WAY`` does it when it comes to its stage, in the real engine or in the one that computes
nothing (``chaos.noop_model``, named before this one). ``POISON_EVENTS`` names a file that is told what the child does
and when; with ``POISON_HARMLESS`` set, that is all that happens.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
from celery.signals import worker_process_init

ROOM_BYTES = 1 << 30
"""Address space that a child has for what it takes beyond its model: more is refused to it, as in a small container."""
TOO_MUCH = 4 << 30


def lose_device() -> None:
    """What torch raises when an index is out of a kernel's bounds; the real thing leaves the CUDA context dead."""
    raise RuntimeError(
        "CUDA error: device-side assert triggered\n"
        "CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be "
        "incorrect.\nCompile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"
    )


def exhaust_memory() -> None:
    """An allocation that the limit refuses: the allocator raises."""
    import torch

    torch.empty(TOO_MUCH, dtype=torch.uint8)


def abort() -> None:
    """The same in native code that nothing can catch: std::bad_alloc ends the process by SIGABRT."""
    allocate = ctypes.CDLL("libstdc++.so.6")._Znwm
    allocate.argtypes = [ctypes.c_size_t]
    allocate(TOO_MUCH)


def segfault() -> None:
    ctypes.string_at(0)


WAYS: dict[str, tuple[str, Callable[[], object]]] = {
    "segfault": ("forward", segfault),
    "kill": ("forward", lambda: os.kill(os.getpid(), signal.SIGKILL)),  # what the kernel's OOM killer does
    "abort": ("forward", abort),
    "memory": ("forward", exhaust_memory),
    "hang": ("forward", lambda: time.sleep(3600)),
    "device": ("forward", lose_device),
    "nan": ("forward", lambda: None),
    "tokenise": ("tokenise", segfault),
}
_EVENTS = os.environ.get("POISON_EVENTS", "")
_HARMLESS = bool(os.environ.get("POISON_HARMLESS"))


def tell(what: str, **more: object) -> None:
    """Append one event; it is in the file whatever becomes of this process."""
    if _EVENTS:
        event = json.dumps({"what": what, "pid": os.getpid(), "at": time.time(), "cpu": time.process_time(), **more})
        handle = os.open(_EVENTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, event.encode() + b"\n")
        os.close(handle)


def strike(stage: str, documents: list[Any]) -> list[int]:
    """Do what the documents in hand ask for; the rows of those whose output is no number."""
    not_finite = []
    for row, document in enumerate(documents):
        found = re.search(r"poison:(\w+)", document.text)
        if _HARMLESS or found is None or WAYS[found[1]][0] != stage:
            continue
        tell("struck", document=document.id)
        WAYS[found[1]][1]()
        not_finite += [row] if found[1] == "nan" else []
    return not_finite


def wrap(engine: type[Any]) -> None:
    """Have an engine tell what it does, and limit its memory."""
    begin, compute = engine.__init__, engine.compute

    def loaded(self: Any, *arguments: Any, **more: Any) -> None:
        begin(self, *arguments, **more)
        address_space = psutil.Process().memory_info().vms
        resource.setrlimit(resource.RLIMIT_AS, (address_space + ROOM_BYTES, resource.RLIM_INFINITY))
        tell("ready", born=psutil.Process().create_time())

    def watched(self: Any, batch: Any, *arguments: Any, **more: Any) -> Any:
        tell("begin", batch=batch.number)
        computed = compute(self, batch, *arguments, **more)
        tell("end", batch=batch.number)
        return computed

    engine.__init__, engine.compute = loaded, watched  # type: ignore[misc]  # replaced on purpose


@worker_process_init.connect
def poison(**_: Any) -> None:
    """Wrap the engine of this child: what is taken in hand is looked at before its stage."""
    noop = sys.modules.get("chaos.noop_model")
    if noop is not None:
        wrap(noop.NoopExtractor)
        take = noop.NoopExtractor.take

        def taken(self: Any, documents: list[Any]) -> None:
            strike("forward", documents)
            take(self, documents)

        noop.NoopExtractor.take = taken
        return
    from pipelines.extract import Extractor
    from pipelines.features.shared import SharedForward
    from pipelines.readings.texts import TextReading

    wrap(Extractor)
    read, compute = TextReading.read, SharedForward.compute
    owners: dict[bytes, Any] = {}  # of rows: a forward pass knows no documents

    def tokenised(self: TextReading, documents: Any) -> Any:
        strike("tokenise", documents)
        found = read(self, documents)
        for document, one in zip(documents, found, strict=True):
            owners.update((row.tobytes(), document) for row in getattr(one, "rows", ()))
        return found

    def computed(self: SharedForward, rows: Any, notes: Any) -> Any:
        not_finite = strike("forward", [owners[row.tobytes()] for row in rows])
        result = compute(self, rows, notes)
        for columns in result.values() if not_finite else ():
            for array in columns:
                array[not_finite] = np.nan  # of the tensor itself: they share their memory
        return result

    TextReading.read = tokenised  # type: ignore[method-assign]  # replaced on purpose
    SharedForward.compute = computed  # type: ignore[method-assign]  # replaced on purpose
