"""A corpus with one document for each way to fail, each in a batch of its own but for two that share one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

LONG_LINE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Poison:
    """A document at so many thousandths of the corpus; ``reason`` is the one it must be quarantined with.

    ``deadly`` are those that cost the process that computes them.
    """

    place: int
    way: str
    reason: str
    deadly: bool = True

    def index(self, documents: int) -> int:
        """Its place in a corpus of so many documents."""
        return documents * self.place // 1000 + documents // 200

    def id(self, documents: int) -> str:
        return f"doc-{self.index(documents)}"


POISON = (
    Poison(30, "segfault", "crash"),
    Poison(130, "kill", "crash"),
    Poison(230, "abort", "crash"),
    Poison(330, "memory", "out_of_memory", deadly=False),
    Poison(430, "hang", "timeout"),
    Poison(530, "device", "crash"),
    Poison(630, "nan", "not_finite", deadly=False),
    Poison(730, "tokenise", "crash"),
    Poison(830, "segfault", "crash"),
    Poison(832, "kill", "crash"),
)
"""The engine's part; the last two share a batch."""
UNREADABLE = (
    Poison(900, "lone surrogate", "bad_encoding", deadly=False),
    Poison(930, "surrogate bytes", "bad_encoding", deadly=False),
)
LONG_LINE = Poison(960, "1 GB line", "too_long", deadly=False)


def text_of(number: int) -> str:
    """A short text; their lengths differ."""
    words = ("river", "pump", "valley", "mill", "turbine", "keeper", "water", "wheel", "gate", "morning")
    return f"{number} " + " ".join(words[(number * 7 + k * k) % 10] for k in range(2 + number % 9))


def write_corpus(path: Path, documents: int, items: Iterable[Poison]) -> dict[str, Poison]:
    """Write JSON Lines; the documents by id that must not get a row, with what is wrong with them."""
    planted = {item.index(documents): item for item in items}
    with path.open("wb") as file:
        for number in range(documents):
            item = planted.get(number)
            prefix = b'{"id": "doc-%d", "text": "' % number
            if item is None or item in POISON:
                text = text_of(number) + (f" poison:{item.way}" if item else "")
                file.write(json.dumps({"id": f"doc-{number}", "text": text}).encode() + b"\n")
            elif item is LONG_LINE:
                file.write(prefix)
                for _ in range(LONG_LINE_BYTES >> 20):
                    file.write(b"endless " * (1 << 17))
                file.write(b'"}\n')
            else:
                file.write(prefix + (b"\\ud800" if item.way == "lone surrogate" else b"\xed\xa0\x80") + b'"}\n')
    return {f"doc-{number}": item for number, item in planted.items()}
