"""A real model that takes 3 s longer to load: named by PENSTOCK_INCLUDE, imported by a worker's child."""

from __future__ import annotations

import time
from typing import Any

from celery.signals import worker_process_init

LOAD_S = 3.0


@worker_process_init.connect
def slow_down(**_: Any) -> None:
    from pipelines import extract

    load = extract.Extractor

    def slowly(*arguments: Any, **options: Any) -> Any:
        time.sleep(LOAD_S)
        return load(*arguments, **options)

    extract.Extractor = slowly  # type: ignore[misc,assignment]  # replaced on purpose
