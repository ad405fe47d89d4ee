"""The token budgets of a slot: what one child measured or learnt of its memory holds for those that follow it."""

from __future__ import annotations

import logging
from collections import UserDict
from pathlib import Path

from pipelines.batching import lowered_budget
from worker.breadcrumb import Breadcrumb, keep_budgets, kept_budgets

logger = logging.getLogger(__name__)

VMSTAT = Path("/proc/vmstat")


class SlotBudgets(UserDict[str, int]):
    """Encoder, dtype and device → equivalent tokens, in the page of the slot's worker process."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self._page = page
        self.data.update(kept_budgets(page))

    def __setitem__(self, key: str, tokens: int) -> None:
        super().__setitem__(key, tokens)
        keep_budgets(self._page, self.data)


def oom_kills(vmstat: Path = VMSTAT) -> int:
    """The processes that the kernel has killed since it started because memory was short; 0 where it does not say."""
    try:
        counters = dict(line.split(" ", 1) for line in vmstat.read_text().splitlines())
        return int(counters.get("oom_kill", 0))
    except (OSError, ValueError):
        return 0


class MemoryWatch:
    """Tells a child that the kernel killed because memory was short from one that died otherwise."""

    def __init__(self, vmstat: Path = VMSTAT) -> None:
        self._vmstat = vmstat
        self._kills = oom_kills(vmstat)

    def after_death(self, page: Path, crumb: Breadcrumb | None, killed: bool) -> None:
        """A child is dead, ``killed`` by SIGKILL: its successor begins with half the budgets if memory was the cause.

        It may have been another process that the kernel killed at that time, or not the passes that took the memory:
        smaller micro-batches cost little.
        """
        kills, before = oom_kills(self._vmstat), self._kills
        self._kills = kills
        if not killed or kills <= before or crumb is None or crumb.hung:
            return
        budgets = {key: lowered_budget(tokens, tokens / 2) for key, tokens in kept_budgets(page).items()}
        keep_budgets(page, budgets)
        logger.warning("Memory was too small: the kernel killed the worker child. Its successor's passes are smaller.")
