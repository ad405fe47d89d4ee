"""A storage without room as long as the file that POISON_STORAGE names is there: imported by a child in tests only."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from celery.signals import worker_process_init


@worker_process_init.connect
def fill(**_: Any) -> None:
    """Have nothing published while the file is there; it counts the refusals by its lines."""
    from pipelines.parts import store

    sync = store._sync_file
    flag = Path(os.environ["POISON_STORAGE"])

    def refuse(path: Path) -> None:
        if flag.exists() and path.is_file():
            with flag.open("a") as file:
                file.write("refused\n")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        sync(path)

    store._sync_file = refuse
