"""Documents that kill, hang or lose the device: named by PENSTOCK_INCLUDE, imported by a worker's child in tests only.

A text that holds ``poison:WAY`` does it when it reaches the forward pass.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import time
from collections.abc import Callable, Iterable
from typing import Any

from celery.signals import worker_process_init

from pipelines.errors import ProcessError


def lose_device() -> None:
    raise ProcessError("The device is lost: injected.")


WAYS: dict[str, Callable[[], object]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segfault": lambda: ctypes.string_at(0),
    "hang": lambda: time.sleep(3600),
    "device": lose_device,
}


@worker_process_init.connect
def poison(**_: Any) -> None:
    """Wrap the extractor of this child: what is taken in hand is looked at before the forward pass."""
    from pipelines.extract import Extractor
    from pipelines.features.shared import SharedForward

    extract, compute = Extractor.extract, SharedForward.compute
    in_hand: list[str] = []

    def watched(self: Extractor, batch: Any, on_progress: Any, *, on_taking: Any, suspicion: Any) -> Any:
        documents = batch.documents

        def taking(stage: str, indices: Iterable[int]) -> None:
            indices = list(indices)
            in_hand[:] = [documents[index].text for index in indices] if stage == "forward" else []
            on_taking(stage, indices)

        return extract(self, batch, on_progress, on_taking=taking, suspicion=suspicion)

    def struck(self: SharedForward, rows: Any) -> Any:
        for text in in_hand:
            if found := re.search(r"poison:(\w+)", text):
                WAYS[found[1]]()
        return compute(self, rows)

    Extractor.extract = watched  # type: ignore[method-assign]
    SharedForward.compute = struck  # type: ignore[method-assign]
