"""Two sizes, two words: batches are cut by commit size, micro-batches by token budget."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pipelines.documents import Batch, Cursor, Document, Reject
from pipelines.spec import MAX_BATCH_TEXT_BYTES

LEAST_TOKEN_BUDGET = 256
"""No lack of memory lowers a token budget further: one document may take as much."""


class Reader(Protocol):
    """Items of a corpus in order. ``cursor`` is the place right after the last item that was handed out."""

    @property
    def cursor(self) -> Cursor: ...

    def __iter__(self) -> Iterator[Document | Reject]: ...

    def take_warnings(self) -> list[Reject]:
        """The warnings since the last call; called after each item, they belong to that item."""
        ...


def batches(
    reader: Reader, *, number: int = 0, max_documents: int, max_text_bytes: int = MAX_BATCH_TEXT_BYTES
) -> Iterator[Batch]:
    """Cut a corpus into batches of at most ``max_documents`` items and ``max_text_bytes`` of text, one item at least.

    The cut depends on the items alone, so reading on from a batch's ``end`` gives the same batches as reading through.
    """
    start = place = reader.cursor
    items: list[Document | Reject] = []
    warnings: list[Reject] = []
    text_bytes = 0
    for item in reader:
        size = item_text_bytes(item)
        if items and (len(items) >= max_documents or text_bytes + size > max_text_bytes):
            yield Batch(number, start.documents, items, warnings, start, place)
            number, start, items, warnings, text_bytes = number + 1, place, [], [], 0
        items.append(item)
        warnings += reader.take_warnings()
        text_bytes += size
        place = reader.cursor
    if items:
        yield Batch(number, start.documents, items, warnings, start, place)


def item_text_bytes(item: Document | Reject) -> int:
    """UTF-8 bytes of a document's texts; a reject weighs nothing, its excerpt is short."""
    if isinstance(item, Reject):
        return 0
    size = len(item.text) if item.text.isascii() else len(item.text.encode("utf-8", "surrogatepass"))
    return size + (len(item.pair.encode("utf-8", "surrogatepass")) if item.pair else 0)


def micro_batches(
    costs: Sequence[float] | npt.NDArray[np.floating], token_budget: int, streams: int = 1
) -> list[npt.NDArray[np.intp]]:
    """Group documents for forward passes: the dearest, which are the longest, first, ``token_budget`` each at most.

    Longest first, so that the pass with the highest memory peak comes first. A document dearer than the budget is a
    micro-batch of its own. Several ``streams``, which compute one each, get as much to do as each other: groups are of
    about one cost, and each stream gets as many of them as the others where documents and budget allow. Every index of
    ``costs`` is in exactly one group; equal costs keep corpus order.

    *Shape:* costs ``[documents]``, in equivalent tokens (:mod:`pipelines.roberta.cost`); result: index arrays into it.
    """
    if token_budget < 1:
        raise ValueError(f"token_budget is {token_budget}, wanted at least 1")
    weights = np.asarray(costs, dtype=np.float64)
    order = np.argsort(-weights, kind="stable")
    left = float(weights.sum())
    wanted = streams * math.ceil(left / (streams * token_budget))
    share = math.inf if streams == 1 else left / max(1, wanted)
    groups: list[npt.NDArray[np.intp]] = []
    begin, filled = 0, 0.0
    for position, weight in enumerate(weights[order].tolist()):
        if position > begin and (filled + weight > token_budget or filled + weight / 2 > share):
            groups.append(order[begin:position])
            left, begin, filled = left - filled, position, 0.0
            share = math.inf if streams == 1 else left / max(1, wanted - len(groups))
        filled += weight
    if begin < len(order):
        groups.append(order[begin:])
    return groups


def lowered_budget(token_budget: int, wanted: float) -> int:
    """The budget that follows where memory was too small for one and ``wanted`` is tried next; in equivalent tokens."""
    return max(min(LEAST_TOKEN_BUDGET, token_budget), min(token_budget, math.ceil(wanted)))
