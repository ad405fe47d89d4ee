"""Imported by the workers of a storm, by PENSTOCK_INCLUDE: counts what is delivered, and slows a real model down.

Each delivery is a line of ``STORM_DELIVERIES``. ``STORM_PAUSE_S`` is slept in each micro-batch of a real model.
"""

from __future__ import annotations

import os
import time
from typing import Any

from celery.signals import task_prerun, worker_process_init


@task_prerun.connect
def count(args: Any = (), **_: Any) -> None:
    """One write per line: what several processes append does not mix."""
    handle = os.open(os.environ["STORM_DELIVERIES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(handle, f"{args[1]}\n".encode())
    finally:
        os.close(handle)


@worker_process_init.connect
def slow_down(**_: Any) -> None:
    """Let a real model take a while for each document: what is computed in many small pieces takes no longer for it."""
    pause_s = float(os.environ["STORM_PAUSE_S"])
    if not pause_s:
        return
    from pipelines.extract import Extractor

    compute = Extractor.compute

    def slowly(self: Extractor, batch: Any, on_progress: Any, **more: Any) -> Any:
        def progress(documents: int, tokens: int) -> None:
            time.sleep(2 * pause_s * documents / max(1, len(batch.documents)))
            on_progress(documents, tokens)

        return compute(self, batch, progress, **more)

    Extractor.compute = slowly  # type: ignore[method-assign]  # replaced on purpose
