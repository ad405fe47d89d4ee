"""Which documents are proved: drawn from the run's fingerprint, the same ones whoever draws them.

At most four batches are read again. What lies before them in a file that cannot be entered in the middle has to be read
too: that is bounded, and where most of a corpus lies too deep, the first batches are taken instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from pipelines.parts.footer import read_footer
from pipelines.parts.plan import Plan, PlanEntry
from pipelines.parts.sink import is_committed
from pipelines.parts.store import Store
from pipelines.spec import CorpusSpec, Format

MAX_BATCHES = 4
MAX_REREAD_BYTES = 64 * 2**20
"""Of text before the sampled batches, or of files before they are entered: all of them together."""
_DRAWS = 64
_RANKED = 512
"""So few are put in order; of more, numbers are drawn."""


def drawn(seed: str, count: int) -> Iterator[int]:
    """The numbers below ``count`` in an order that ``seed`` decides; of many, the first that it comes upon."""
    if count <= _RANKED:
        yield from sorted(range(count), key=lambda number: _digest(f"{seed}:{number}"))
        return
    seen: set[int] = set()
    for turn in range(_DRAWS):
        number = int.from_bytes(_digest(f"{seed}:{turn}")) % count
        if number not in seen:
            seen.add(number)
            yield number


def sampled_batches(
    store: Store, plan: Plan, corpus: CorpusSpec, fingerprint: str, *, documents: int, all_are_done: bool
) -> list[int] | None:
    """The batches to prove a sealed plan by, at most one per document; None while one of them has no part yet.

    ``all_are_done`` says that no more parts come: batches without one (dead letters) are passed over. So are those
    without rows, and those before which too much would have to be read.
    """
    totals = plan.totals()
    if totals is None:
        return None
    wanted = min(MAX_BATCHES, documents)
    chosen: list[int] = []
    reread_bytes = 0
    # Of a corpus in one compressed file nearly all lies too deep: then the first of its batches.
    first_ones = range(min(_DRAWS, totals.batches))
    for batch in dict.fromkeys([*drawn(fingerprint, totals.batches), *first_ones]):
        cost = _bytes_before(corpus, plan.entry(batch))
        if reread_bytes + cost > MAX_REREAD_BYTES:
            continue
        if not is_committed(store, batch):
            if all_are_done:
                continue
            return None
        if read_footer(store, batch).rows == 0:
            continue
        chosen.append(batch)
        reread_bytes += cost
        if len(chosen) == wanted:
            break
    return sorted(chosen)


def sampled_rows(fingerprint: str, batch: int, used: list[int]) -> Iterator[int]:
    """The rows of a part in the order in which they are to be proved; ``used`` are the tokens of each.

    The longest comes first: cutting, the last positions and the pooling of many tokens show in it.
    """
    if used:
        longest = max(range(len(used)), key=used.__getitem__)
        yield longest
        yield from (row for row in drawn(f"{fingerprint}:{batch}", len(used)) if row != longest)


def _bytes_before(corpus: CorpusSpec, entry: PlanEntry) -> int:
    """What has to be read, and is not asked for, to come to a batch."""
    if entry.start.shard >= len(corpus.shards):
        return 0
    shard = corpus.shards[entry.start.shard]
    if shard.format in (Format.ARROW, Format.PARQUET):  # its offsets are rows
        whole = shard.format is Format.ARROW or shard.compression != "none"
        return shard.size if whole and entry.start.offset else 0
    return entry.start.offset if shard.compression != "none" else 0


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
