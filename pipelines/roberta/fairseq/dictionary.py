"""``dict.txt`` of fairseq: a symbol and its count in each line, in the order of their ids.

Format: facebookresearch/fairseq ``fairseq/data/dictionary.py`` at 0762a168.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from pipelines.errors import InputError

MAX_TEXT_BYTES = 64 * 2**20
SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
"""Ids 0 to 3, which no dict.txt lists."""
MASK = "<mask>"
"""The last id: the task of masked language models adds it behind the dictionary."""
FILLER = "madeupword"
"""How symbols begin that only fill the dictionary up to a multiple of 8."""


def read_text(path: Path) -> str:
    """A text file. Raises InputError where it is missing, far too long for one of its kind, or not UTF-8."""
    try:
        size = path.stat().st_size
        if size > MAX_TEXT_BYTES:
            raise InputError(f"{path} has {size} bytes, wanted at most {MAX_TEXT_BYTES}.", "Is it the right file?")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.", "Is it the right file?") from error
    except ValueError as error:
        raise InputError(f"{path} is not UTF-8: {error}.", "Get the file again.") from error


def symbols(path: Path) -> list[str]:
    """The symbols of a ``dict.txt`` in the order of their ids. Raises InputError where it is none."""
    found: list[str] = []
    lines = read_text(path).split("\n")
    if lines[-1] == "":
        lines.pop()
    for number, line in enumerate(lines, start=1):
        symbol, _, count = line.rstrip().rpartition(" ")
        if not symbol or not count.isdecimal():
            raise InputError(
                f"{path} has {line[:40]!r} in line {number}, wanted a symbol, a blank and its count.",
                "Name the dict.txt that the model was trained with.",
            )
        found.append(symbol)
    if len(set(found)) != len(found):
        (twice, _), *_ = Counter(found).most_common(1)
        raise InputError(f"{path} has {twice[:40]!r} twice.", "Get the file again.")
    return found


def label_names(path: Path) -> tuple[str, ...]:
    """The classes of a label dictionary in class order: line i is class i. Raises InputError.

    ``path`` is the dictionary, or the folder of it (``label``), or the folder of the binarised data around that.
    """
    for place in (path, path / "label" / "dict.txt", path / "dict.txt"):
        if place.is_file():
            return tuple(symbol for symbol in symbols(place) if not symbol.startswith(FILLER))
    raise InputError(
        f"{path} holds no label dictionary.", "Wanted dict.txt of the labels, or a folder with label/dict.txt."
    )
