"""The corpora of the benchmark: real ones where there is outside data, else made-up texts of the same lengths."""

from __future__ import annotations

import csv
import gzip
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SEED = 20
WORDS = (
    *("river", "pump", "valley", "mill", "turbine", "keeper", "water", "wheel", "gate", "morning", "noise", "market"),
    *("paper", "minister", "engine", "winter", "harbour", "letter", "player", "season", "company", "price", "report"),
    *("night", "garden", "window", "captain", "history", "language", "number", "island", "summer", "road"),
)
MADE_UP_WORDS = {"short": (35, 8), "very_short": (10, 5), "long": (210, 120)}
"""Mean and deviation of words per text; the real ones have about as many."""
MADE_UP = 20_000


@dataclass(frozen=True, slots=True)
class Corpus:
    """Texts in a fixed shuffled order, so that the first n are like all. ``source`` says what they are."""

    name: str
    source: str
    texts: tuple[str, ...]

    def first(self, count: int) -> list[str]:
        """So many texts; begun again at the front where there are not enough."""
        rounds, rest = divmod(count, len(self.texts))
        return [*self.texts * rounds, *self.texts[:rest]]


def load(name: str, data: Path | None) -> Corpus:
    """A corpus by its name: ``short``, ``very_short``, ``long`` or ``mix`` (as many documents of each)."""
    if data is None:
        return Corpus(name, "made-up words", tuple(synthetic(name, MADE_UP)))
    if name == "mix":
        parts = [load(part, data) for part in REAL]
        size = min(len(part.texts) for part in parts)
        texts = [text for part in parts for text in part.texts[:size]]
        random.Random(SEED).shuffle(texts)
        return Corpus(name, "AG News, banking77 and IMDB, as many documents of each", tuple(texts))
    source, read = REAL[name]
    texts = [text for text in read(data) if text.strip()]
    random.Random(SEED).shuffle(texts)
    return Corpus(name, source, tuple(texts))


def synthetic(name: str, count: int) -> list[str]:
    """Made-up texts, the same every time."""
    chance = random.Random(SEED)
    kinds = [name] if name != "mix" else list(MADE_UP_WORDS)
    texts = []
    for number in range(count):
        mean, deviation = MADE_UP_WORDS[kinds[number % len(kinds)]]
        words = max(3, round(chance.gauss(mean, deviation)))
        texts.append(f"{number}: " + " ".join(chance.choices(WORDS, k=words)) + ".")
    return texts


def _ag_news(data: Path) -> list[str]:
    with (data / "ag_news" / "test.csv").open(encoding="utf-8", newline="") as file:
        return [f"{title} {description}" for _, title, description in csv.reader(file)]


def _banking77(data: Path) -> list[str]:
    texts = []
    for part in ("train", "test"):
        with (data / "banking77" / f"{part}.csv").open(encoding="utf-8", newline="") as file:
            texts += [row["text"] for row in csv.DictReader(file)]
    return texts


def _imdb(data: Path) -> list[str]:
    with gzip.open(data / "imdb" / "test.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line)["text"] for line in file]


REAL: dict[str, tuple[str, Callable[[Path], list[str]]]] = {
    "short": ("AG News, test", _ag_news),
    "very_short": ("banking77, train and test", _banking77),
    "long": ("IMDB, test", _imdb),
}
NAMES = (*REAL, "mix")
