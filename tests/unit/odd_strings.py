"""Strings as nobody writes them, the same every time: scripts, signs and blanks in any mixture."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

FUZZ_STRINGS = int(os.environ.get("FUZZ_STRINGS", "2000"))
"""How many to try: more by ``FUZZ_STRINGS=100000 pytest --timeout=0 …``."""

SLOW_FUZZ_STRINGS = int(os.environ.get("FUZZ_STRINGS", "100"))
"""The same where a model is asked of each."""

_PARTS = (
    *(" ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "\u2028", "\x85", "\x1c", "\u200b", "\ufeff", "\x00", "\x7f"),
    *("the river", "It's", "don’t", "“quoted”", "‘single’", "well-known", "1,000.5", "U.S.", "...", "—", "_", "'", "’"),
    *(
        "👩🏽‍🚀",
        "🏳️‍🌈",
        "🇩🇪",
        "1️⃣",
        "日本語",
        "テキスト",
        "한국어",
        "שלום",
        "العربية",
        "हिन्दी",
        "ไทย",
        "e\u0301",
        "\u0301",
    ),
    *(
        "ﬁ",
        "ǅ",
        "İ",
        "½",
        "²",
        "①",
        "\U0010ffff",
        "\ufffd",
        "\ud7ff",
        "\ue000",
        "</s>",
        "<mask>",
        "<pad>",
        "Ġ",
        "Ċ",
        "▁",
    ),
)


def odd_strings(count: int, *, seed: int) -> Iterator[str]:
    """So many strings without surrogates, short ones mostly."""
    chance = random.Random(seed)

    def part() -> str:
        kind = chance.random()
        if kind < 0.6:
            return chance.choice(_PARTS)
        if kind < 0.8:
            return chr(chance.randrange(0x20, 0x7F))
        number = chance.randrange(0x110000 if kind < 0.9 else 0x3000)
        return "" if 0xD800 <= number <= 0xDFFF else chr(number)

    for _ in range(count):
        yield "".join(part() for _ in range(chance.choice((0, 1, 2, 3, 5, 8, 13, 30))))
