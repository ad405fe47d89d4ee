"""The byte-level BPE of GPT-2, on which RoBERTa's dictionary stands: ``vocab.bpe``, and the ids that it gives.

Files: https://github.com/openai/gpt-2, ``src/encoder.py``. ``encoder.json`` lists the ids, but they follow from
``vocab.bpe``: first the 256 bytes, then each merge in its order, then ``<|endoftext|>``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import InputError
from pipelines.roberta.config import read_json
from pipelines.roberta.download import hub_file
from pipelines.roberta.fairseq.dictionary import MAX_TEXT_BYTES, read_text

END_OF_TEXT = "<|endoftext|>"
MERGES_NAMES = ("vocab.bpe", "merges.txt")
IDS_NAME = "encoder.json"
HUB_ID = "FacebookAI/roberta-base"
_PRINTABLE = (*range(33, 127), *range(161, 173), *range(174, 256))
_HOW = (
    "Give it by --bpe: vocab.bpe of GPT-2 (https://dl.fbaipublicfiles.com/fairseq/gpt2_bpe/vocab.bpe), or merges.txt "
    "of any roberta-base."
)


@dataclass(frozen=True, slots=True)
class Bpe:
    """A byte-level BPE: its merges as pairs, and its tokens in the order of their GPT-2 ids."""

    merges: tuple[tuple[str, str], ...]
    tokens: tuple[str, ...]


def byte_letters() -> list[str]:
    """The letters that GPT-2 writes the 256 bytes with, in the order of their ids.

    Bytes that print stand for themselves; the others are moved up to 256 and more, in their order.
    """
    moved = [byte for byte in range(256) if byte not in _PRINTABLE]
    return [chr(byte) for byte in _PRINTABLE] + [chr(256 + number) for number in range(len(moved))]


def find_bpe(asked: Path | None, places: Iterable[Path]) -> Path:
    """The file of the merges: the one that was asked for, else the first in ``places``, else roberta-base's of the hub.

    Raises InputError where there is none, saying how to get it.
    """
    if asked is not None:
        candidates = [asked, *(asked / name for name in MERGES_NAMES)]
        found = next((path for path in candidates if path.is_file()), None)
        if found is None:
            raise InputError(f"{asked} is no vocab.bpe, and no folder with one.", _HOW)
        return found
    for place in places:
        for name in MERGES_NAMES:
            if (place / name).is_file():
                return place / name
    try:
        return hub_file(HUB_ID, "merges.txt")
    except Exception as error:  # the hub's client raises its own errors and those of the HTTP library under it
        raise InputError("There is no vocab.bpe with the checkpoint, and the model hub gave none.", _HOW) from error


def read_bpe(path: Path) -> Bpe:
    """The merges of ``vocab.bpe``, and the ids of ``encoder.json`` beside it or those that follow from the merges.

    Raises InputError where the file is no list of merges.
    """
    lines = read_text(path).split("\n")
    pairs = [line.split(" ") for line in lines[lines[0].startswith("#version") :] if line]
    wrong = next((pair for pair in pairs if len(pair) != 2 or not all(pair)), None)
    if wrong is not None or not pairs:
        found = repr(" ".join(wrong)[:40]) if wrong else "no lines"
        raise InputError(f"{path} has {found}, wanted two pieces in each line.", _HOW)
    bpe = bpe_of((first, second) for first, second in pairs)
    known = set(bpe.tokens)
    unknown = next((piece for pair in bpe.merges for piece in pair if piece not in known), None)
    if unknown is not None:
        raise InputError(f"{path} merges {unknown[:40]!r}, which no byte or merge gives.", _HOW)
    ids = path.parent / IDS_NAME
    return Bpe(bpe.merges, _listed(ids, known)) if ids.is_file() else bpe


def bpe_of(pairs: Iterable[tuple[str, str]]) -> Bpe:
    """The BPE of such merges, with the ids that follow from them."""
    merges = tuple(pairs)
    return Bpe(merges, tuple(dict.fromkeys([*byte_letters(), *map("".join, merges), END_OF_TEXT])))


def _listed(path: Path, known: set[str]) -> tuple[str, ...]:
    """The tokens of ``encoder.json`` in the order of their ids."""
    ids = read_json(path, MAX_TEXT_BYTES)
    if set(ids) != known or sorted(map(repr, ids.values())) != sorted(map(repr, range(len(ids)))):
        raise InputError(f"{path} lists other tokens than its vocab.bpe gives.", "Take both from the same place.")
    return tuple(sorted(ids, key=lambda token: int(ids[token])))
