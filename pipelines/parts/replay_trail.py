"""What a replay has in hand, so that a document that kills its process is found and set aside when it is called again.

Lines in ``_tmp/``, without sync: they outlive the process, which is all they are for.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pipelines.documents import Reason
from pipelines.errors import ProcessError
from pipelines.parts.layout import TEMPORARY
from pipelines.parts.replay_mark import ReplayMark
from pipelines.parts.store import Store
from pipelines.suspicion import NO_SUSPICION, Suspicion, accuse, suspicion_from_json

_DETAIL = "The process died while it computed this document alone, in a replay."
_HUNG = "The process did not come on with this document alone, in a replay."


@dataclass(frozen=True, slots=True)
class Taken:
    """What a replay took in hand last: so many documents of a batch."""

    batch: int
    documents: int


def last_taken(store: Store) -> Taken | None:
    """What the replay of a folder has in hand now, or had when it died; None where it left no trail."""
    found = _trail_of(store)
    for value in reversed([*_lines((store.read_if_present(found) if found else None) or b"")]):
        if isinstance(value.get("documents"), list):
            return Taken(int(value["batch"]), len(value["documents"]))
    return None


def trail_bytes(store: Store) -> int:
    """How far the trail of a folder's replay goes; 0 where there is none."""
    found = _trail_of(store)
    return store.size(found) if found else 0


def mark_hung(store: Store) -> None:
    """Note that the process of a replay was killed because it did not come on: that is what its documents did."""
    if (found := _trail_of(store)) is not None:
        store.append(found, json.dumps({"hung": True}).encode())


def _trail_of(store: Store) -> str | None:
    """The trail of a folder: of one replay at most at a time, for it holds the folder."""
    names = [name for name in store.scan(TEMPORARY) if name.startswith("replay-") and name.endswith(".jsonl")]
    return f"{TEMPORARY}/{max(names)}" if names else None


class ReplayTrail:
    """The trail of one replay, gone over when it begins: a call that died in the middle of a part leaves suspects."""

    def __init__(self, store: Store, mark: ReplayMark) -> None:
        self._store = store
        self._name = f"{TEMPORARY}/replay-{mark.generation}-{mark.reason or 'all'}.jsonl"
        self._suspicions: dict[int, Suspicion] = {}
        in_hand: tuple[int, list[int]] | None = None
        hung = False
        for value in _lines(store.read_if_present(self._name) or b""):
            if "hung" in value:
                hung = True
                continue
            try:
                batch = int(value["batch"])
                if "suspicion" in value:
                    self._suspicions[batch] = suspicion_from_json(value["suspicion"])
                else:
                    in_hand = (batch, [int(index) for index in value["documents"]]) if value["documents"] else None
                    hung = False
            except (KeyError, TypeError, ValueError):
                continue
        if in_hand is not None:
            batch, documents = in_hand
            reason, detail = (Reason.TIMEOUT, _HUNG) if hung else (Reason.CRASH, _DETAIL)
            after, _ = accuse(self.suspicion(batch), documents, reason, detail)
            self._suspicions[batch] = after
            self._append({"batch": batch, "suspicion": after.to_json()})
            self._append({"batch": batch, "documents": []})

    def suspicion(self, batch: int) -> Suspicion:
        """Which documents of a part killed earlier calls; indices are into those that are tried."""
        return self._suspicions.get(batch, NO_SUSPICION)

    @contextlib.contextmanager
    def taking(self, batch: int) -> Iterator[Callable[[str, Iterable[int]], None]]:
        """Note each piece of work that is taken in hand; nothing stays in hand where this ends in order."""
        try:
            yield lambda _, documents: self._append({"batch": batch, "documents": [int(index) for index in documents]})
        except ProcessError:
            raise  # the device is lost: what was in hand is under suspicion
        except BaseException:
            self._append({"batch": batch, "documents": []})
            raise

    def remove(self) -> None:
        """The replay is over."""
        self._store.remove(self._name)

    def _append(self, value: dict[str, Any]) -> None:
        self._store.append(self._name, json.dumps(value).encode())


def _lines(data: bytes) -> Iterator[dict[str, Any]]:
    for line in data.splitlines():
        with contextlib.suppress(ValueError):  # cut short by the death it tells of
            value = json.loads(line)
            if isinstance(value, dict):
                yield value
