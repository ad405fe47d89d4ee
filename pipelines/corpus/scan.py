"""Counting the items of a file without reading them: where they end, in order, and what identifies their source.

A scan gives the places that the reader would stand at. Where it cannot tell them for certain it gives up, and the
reader is asked instead.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol


class UnscannableError(Exception):
    """What lies ahead must be read to be counted: a format without a scan, damage, or too much text for one batch."""


class Passed(NamedTuple):
    """How far a scan came: how many items it passed by, and the place right after the last of them.

    ``text_bytes`` is the most that their texts can have; ``digest`` was fed up to that place. ``ended``: the file has
    no more items; then ``blank_after`` blank lines follow, and the digest that was given is fed up to the file's end.
    """

    items: int
    offset: int
    line: int
    blank_lines: int
    text_bytes: int
    digest: Any
    ended: bool = False
    blank_after: int = 0


class Scan(Protocol):
    """The items of one file from a place on."""

    enterable: bool
    """Whether a new scan can begin anywhere at no cost."""

    def take(self, wanted: int, room: int, digest: Any) -> Passed:
        """Pass by up to ``wanted`` items whose texts have at most ``room`` bytes together.

        ``digest`` (of hashlib) is fed with what identifies the source, see :mod:`source_digest`. Raises
        UnscannableError, after which the scan and the digest are of no use.
        """
        ...

    def close(self) -> None:
        """Close the file."""
        ...
