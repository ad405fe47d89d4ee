"""How much is measured: a smoke test in seconds, a quick look in minutes, or all of it within an hour."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.engine.models import BASE, LARGE, TINY, Shape
from benchmarks.engine.texts import NAMES


@dataclass(frozen=True, slots=True)
class Level:
    """What one run of the benchmark does.

    ``pass_s`` is how long one pass of a contestant should take; ``rounds`` how often the contestants alternate.
    ``large`` is a second shape for the three fastest. ``rest_peers`` is how many peers in a floating format, and how
    many in int8, go on to the corpora after the first. ``journey_s`` is how long the engine has to work on the
    documents of the run through Redis, ``sample`` the number of documents whose vectors are compared.
    """

    name: str
    shape: Shape
    large: Shape | None
    corpora: tuple[str, ...]
    pass_s: float
    rounds: int
    rest_peers: tuple[int, int]
    journey_s: float
    journey_rounds: int
    sample: int
    ceiling_rows: tuple[int, ...]
    installed_peers_only: tuple[str, ...] | None = None


FULL = Level("full", BASE, LARGE, NAMES, 20.0, 3, (1, 1), 30.0, 3, 64, (512, 1024, 2048, 4096))
QUICK = Level("quick", BASE, None, ("short", "mix"), 2.5, 3, (1, 1), 12.0, 1, 16, (1024, 4096))
SMOKE = Level(
    "smoke", TINY, None, ("short", "mix"), 0.2, 3, (2, 1), 0.5, 1, 8, (256,), ("transformers pipeline",)
)  # fmt: skip
LEVELS = {level.name: level for level in (FULL, QUICK, SMOKE)}
