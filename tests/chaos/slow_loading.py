"""A model that takes 9 s to load, as a large one does: named by PENSTOCK_INCLUDE, imported by a worker's child."""

from __future__ import annotations

import time
from typing import Any

from celery.signals import worker_process_init

LOAD_S = 9.0


@worker_process_init.connect
def load_slowly(**_: Any) -> None:
    time.sleep(LOAD_S)
