"""Which documents of a batch kill the process that computes them: narrowed down crash by crash.

A process that dies leaves a breadcrumb: the documents it had in hand. Once may be chance, so they are computed again,
first and together. Twice with documents of the same group is not: the group is halved, until a process has died with
one document alone. That one is guilty, after three deaths at the least: somebody may be killing processes at random. Of
n suspects one poison is found in max(3, 2 + log2(n)) deaths; the rest of the batch is computed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pipelines.documents import Reason

LEAST_DEATHS = 3
"""Deaths at a batch before a document of it can be found guilty."""


@dataclass(frozen=True, slots=True)
class Guilt:
    """Why a document is rejected without being computed again; ``attempts`` are the deaths it took to find it."""

    reason: Reason
    detail: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What earlier attempts at a batch left. Documents are indices into ``Batch.documents``.

    ``groups`` are computed first, each by itself; ``guilty`` documents are not computed at all.
    """

    groups: tuple[tuple[int, ...], ...] = ()
    guilty: Mapping[int, Guilt] = field(default_factory=dict)
    deaths: int = 0

    @property
    def suspects(self) -> frozenset[int]:
        """All documents under suspicion."""
        return frozenset(index for group in self.groups for index in group)

    def to_json(self) -> str:
        """For the ledger; :func:`suspicion_from_json` is the way back."""
        guilty = {index: [guilt.reason, guilt.detail, guilt.attempts] for index, guilt in self.guilty.items()}
        return json.dumps({"groups": self.groups, "guilty": guilty, "deaths": self.deaths})


NO_SUSPICION = Suspicion()


def suspicion_from_json(text: str) -> Suspicion:
    """What :meth:`Suspicion.to_json` made. Raises ValueError, KeyError or TypeError for anything else."""
    value = json.loads(text)
    guilty = {
        int(index): Guilt(Reason(reason), str(detail), int(attempts))
        for index, (reason, detail, attempts) in value["guilty"].items()
    }
    groups = tuple(tuple(int(index) for index in group) for group in value["groups"])
    return Suspicion(groups, guilty, int(value["deaths"]))


def accuse(before: Suspicion, in_hand: Iterable[int], reason: Reason, detail: str) -> tuple[Suspicion, bool]:
    """What is known after one more death, and whether that brought the matter forward.

    ``in_hand`` are the documents of the breadcrumb. True where they were suspects before: the suspicion then narrows,
    and the attempt need not count against the batch.
    """
    found = tuple(dict.fromkeys(in_hand))
    deaths = before.deaths + 1
    if not found:
        return Suspicion(before.groups, before.guilty, deaths), False
    group = next((group for group in before.groups if set(found) <= set(group)), None)
    if group is None:
        others = tuple(rest for one in before.groups if (rest := tuple(i for i in one if i not in set(found))))
        return Suspicion((found, *others), before.guilty, deaths), False
    others = tuple(one for one in before.groups if one != group)
    rest = tuple(index for index in group if index not in set(found))
    if rest:
        others = (rest, *others)
    if len(found) == 1 and deaths < LEAST_DEATHS:
        return Suspicion((found, *others), before.guilty, deaths), True
    if len(found) == 1:
        guilty = {**before.guilty, found[0]: Guilt(reason, detail, deaths)}
        return Suspicion(others, guilty, deaths), True
    middle = len(found) // 2
    return Suspicion((found[:middle], found[middle:], *others), before.guilty, deaths), True
