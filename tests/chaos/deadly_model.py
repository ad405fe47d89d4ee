"""A model whose loading kills the process (as a too small memory does): imported by a worker's child in tests only."""

from __future__ import annotations

import os
import signal
from typing import Any

from celery.signals import worker_process_init


@worker_process_init.connect
def die_while_loading(**_: Any) -> None:
    """Replace the loading of weights by the end of the process."""
    from pipelines.extract import Extractor

    def load(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    Extractor.__init__ = load  # type: ignore[method-assign, assignment]
