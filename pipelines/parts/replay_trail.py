"""What a replay has in hand, so that a document that kills its process is found and set aside when it is called again.

Lines in ``_tmp/``, without sync: they outlive the process, which is all they are for.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pipelines.documents import Reason
from pipelines.errors import ProcessError
from pipelines.parts.layout import TEMPORARY
from pipelines.parts.replay_mark import ReplayMark
from pipelines.parts.store import Store
from pipelines.suspicion import NO_SUSPICION, Suspicion, accuse, suspicion_from_json

_DETAIL = "The process died while it computed this document alone, in a replay."


class ReplayTrail:
    """The trail of one replay, gone over when it begins: a call that died in the middle of a part leaves suspects."""

    def __init__(self, store: Store, mark: ReplayMark) -> None:
        self._store = store
        self._name = f"{TEMPORARY}/replay-{mark.generation}-{mark.reason or 'all'}.jsonl"
        self._suspicions: dict[int, Suspicion] = {}
        in_hand: tuple[int, list[int]] | None = None
        for value in _lines(store.read_if_present(self._name) or b""):
            try:
                batch = int(value["batch"])
                if "suspicion" in value:
                    self._suspicions[batch] = suspicion_from_json(value["suspicion"])
                else:
                    in_hand = (batch, [int(index) for index in value["documents"]]) if value["documents"] else None
            except (KeyError, TypeError, ValueError):
                continue
        if in_hand is not None:
            batch, documents = in_hand
            after, _ = accuse(self.suspicion(batch), documents, Reason.CRASH, _DETAIL)
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
