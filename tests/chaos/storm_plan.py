"""What a seed makes of a storm: fleet, Redis, trouble and times; the same seed plans the same storm every time."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

DOCUMENTS = 20_000
FEW_MODELS = 10
"""One storm in so many computes with a small real model, the others with the one that computes nothing."""
WINDOW_PER_WORKER = 8
"""Batches in flight: few, so that a batch that was lost does not wait behind work that nobody disturbed."""


class Trouble(StrEnum):
    """What a storm does besides killing."""

    NONE = "none"
    LOSE = "lose"  # messages are taken out of the queue and never delivered
    TRIPLE = "triple"  # every message is delivered three times, shuffled, once of them late
    FLUSH = "flush"  # FLUSHALL now and then
    FORGETFUL = "forgetful"  # Redis writes nothing down: each of its deaths is a FLUSHALL


@dataclass(frozen=True, slots=True)
class StormPlan:
    """One storm. ``pause_s`` is what each of a batch's two micro-batches takes at the least."""

    seed: int
    quick: bool
    model: str
    trouble: Trouble
    workers: int
    lease_s: float
    batch_documents: int
    pause_s: float
    feeder_brings_worker: bool
    storm_s: float
    least_kills: int
    intervals_s: tuple[float, float]

    @property
    def append_only(self) -> bool:
        return self.trouble is not Trouble.FORGETFUL

    @property
    def window(self) -> int:
        return WINDOW_PER_WORKER * self.workers


def plan_storm(seed: int, *, quick: bool = False) -> StormPlan:
    """The storm of a seed. A ``quick`` one blows for half a minute, with leases of a few seconds and no real model.

    Five seeds in a row have the five troubles. An undisturbed run would take most of the storm's time, so that a
    disturbed one is under way for all of it.
    """
    rng = random.Random(seed)
    troubles = list(Trouble)
    workers = rng.choice((1, 1, 2))
    lease_s = rng.choice((60.0, 60.0, 60.0, 20.0, 10.0, 5.0))
    batch_documents = rng.choice((50, 64, 80, 100))
    storm_s = 30.0 if quick else 60.0
    batches = DOCUMENTS / batch_documents
    return StormPlan(
        seed=seed,
        quick=quick,
        model="tiny" if seed % FEW_MODELS == 0 and not quick else "noop",
        trouble=troubles[(seed + seed // FEW_MODELS) % len(troubles)],
        workers=workers,
        lease_s=rng.choice((4.0, 6.0)) if quick else lease_s,
        batch_documents=batch_documents,
        pause_s=round((25.0 if quick else 60.0) * workers / batches / 2, 3),
        feeder_brings_worker=rng.random() < 0.2,
        storm_s=storm_s,
        least_kills=12 if quick else 0,
        intervals_s=(0.5, 4.0) if quick else (0.5, 5.0),
    )
