"""How much of a run may be in quarantine before it counts as failed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from pipelines.errors import UsageError

_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")


@dataclass(frozen=True, slots=True)
class Limit:
    """A share of all documents or a number of them; ``text`` is how it was written."""

    text: str
    share: Fraction | None = None
    documents: int | None = None

    @classmethod
    def parse(cls, text: str) -> Limit:
        """``1%``, ``0.5%`` or ``20``. Raises UsageError for anything else."""
        text = text.strip()
        if match := _PERCENT.fullmatch(text):
            share = Fraction(match[1]) / 100
            if share <= 1:
                return cls(text, share=share)
        elif text.isascii() and text.isdigit():
            return cls(text, documents=int(text))
        raise UsageError(f"--max-quarantined is {text!r}, wanted a share such as 1% or a number of documents.")

    def allows(self, quarantined: int, documents: int) -> bool:
        """Whether so many of so many documents may be in quarantine."""
        if self.share is not None:
            return quarantined <= self.share * documents
        return self.documents is None or quarantined <= self.documents


DEFAULT_LIMIT = Limit.parse("1%")
