"""Which documents of a batch kill the process that computes them: narrowed down crash by crash.

A process that dies leaves a breadcrumb: the documents it had in hand. The next one computes them first and in small
groups; dies it again, the breadcrumb names the group, which is divided in turn, until a process dies with one document
alone. Whoever does that three times is guilty: once may be chance, somebody may be killing processes at random. Of n
documents in hand one poison is found in 3 + log16(n) deaths, rounded up; the rest of the batch is computed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pipelines.documents import Reason

DEATHS_ALONE = 3
"""How often a document must kill alone to be found guilty."""
PIECES = 16
"""Into how many a group of suspects is divided: each costs a forward pass, which is little against a death."""


@dataclass(frozen=True, slots=True)
class Guilt:
    """Why a document is rejected without being computed again; ``attempts`` are the deaths with it in hand."""

    reason: Reason
    detail: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What earlier attempts at a batch left. Documents are indices into ``Batch.documents``.

    ``groups`` are computed first, each by itself; ``guilty`` documents are not computed at all. ``in_hand`` and
    ``alone`` count the deaths with a document in hand, and with nothing else. ``deaths`` are all those at the batch.
    """

    groups: tuple[tuple[int, ...], ...] = ()
    guilty: Mapping[int, Guilt] = field(default_factory=dict)
    deaths: int = 0
    in_hand: Mapping[int, int] = field(default_factory=dict)
    alone: Mapping[int, int] = field(default_factory=dict)

    @property
    def suspects(self) -> frozenset[int]:
        """All documents under suspicion."""
        return frozenset(index for group in self.groups for index in group)

    def to_json(self) -> str:
        """For the ledger; :func:`suspicion_from_json` is the way back."""
        return json.dumps(
            {
                "groups": self.groups,
                "guilty": {index: [guilt.reason, guilt.detail, guilt.attempts] for index, guilt in self.guilty.items()},
                "deaths": self.deaths,
                "in_hand": self.in_hand,
                "alone": self.alone,
            }
        )


NO_SUSPICION = Suspicion()


def suspicion_from_json(text: str) -> Suspicion:
    """What :meth:`Suspicion.to_json` made. Raises ValueError, KeyError or TypeError for anything else."""
    value = json.loads(text)
    guilty = {
        int(index): Guilt(Reason(reason), str(detail), int(attempts))
        for index, (reason, detail, attempts) in value["guilty"].items()
    }
    groups = tuple(tuple(int(index) for index in group) for group in value["groups"])
    in_hand, alone = (
        {int(index): int(count) for index, count in dict(value[key]).items()} for key in ("in_hand", "alone")
    )
    return Suspicion(groups, guilty, int(value["deaths"]), in_hand, alone)


def accuse(before: Suspicion, in_hand: Iterable[int], reason: Reason, detail: str) -> tuple[Suspicion, bool]:
    """What is known after one more death, and whether that brought the matter forward.

    ``in_hand`` are the documents of the breadcrumb. True where they were suspects before: the suspicion then narrows,
    and the attempt need not count against the batch.
    """
    found = tuple(dict.fromkeys(in_hand))
    held_now = frozenset(found)
    narrows = bool(found) and any(held_now.issubset(group) for group in before.groups)
    held = {**before.in_hand, **{index: before.in_hand.get(index, 0) + 1 for index in found}}
    alone, guilty = dict(before.alone), dict(before.guilty)
    # The others come first: what they do shows that the process computes, and this death costs them nothing more.
    groups = [rest for group in before.groups if (rest := tuple(i for i in group if i not in held_now))]
    if len(found) == 1:
        index = found[0]
        alone[index] = alone.get(index, 0) + 1
        if alone[index] >= DEATHS_ALONE:
            guilty[index] = Guilt(reason, detail, held[index])
    if len(found) != 1 or found[0] not in guilty:
        groups += _pieces(found)
    return Suspicion(tuple(groups), guilty, before.deaths + 1, held, alone), narrows


def _pieces(documents: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """At most :data:`PIECES` groups of about the same size."""
    size = -(-len(documents) // PIECES)
    for start in range(0, len(documents), size or 1):
        yield documents[start : start + size]
