"""A worker that sees no run's folder, as one of another deployment on the same Redis: named by PENSTOCK_INCLUDE."""

from __future__ import annotations

from typing import NoReturn

from pipelines.errors import SurroundingsError
from worker import process


def _unseen(self: process.ProcessResources, run: str) -> NoReturn:
    raise SurroundingsError(f"There is no run {run} that this machine can see.")


process.ProcessResources.run = _unseen  # type: ignore[method-assign]  # replaced on purpose
