"""Two processes seal one run, with different statistics; and what `resume` mends in a sealed folder."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.made_runs import ALL, DOCUMENT, make

from pipelines.parts import manifest
from pipelines.parts.layout import MANIFEST, SUCCESS, part_name, suspicion_name
from pipelines.parts.listing import read_head
from pipelines.parts.manifest import seal
from pipelines.parts.mend import is_sound, mend
from pipelines.parts.proof_record import Proof
from pipelines.parts.store import Store
from pipelines.parts.verify import verify

PATIENCE_S = 30
MEASURED = {"redis_peak_bytes": 123}
LEFT = "_quarantine/part-00000000-00000000.parquet"


def _other_seal(store: Store) -> None:
    thread = threading.Thread(target=seal, args=(store, DOCUMENT))
    thread.start()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("step", "after"), [("count_duplicates", False), ("card", False), ("write", True), ("success_bytes", False)]
)
def test_another_seals_in_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, after: bool) -> None:
    store = make(tmp_path, [3, 3])
    made: Callable[..., Any] = getattr(manifest, step)
    pending = [True]

    def disturbed(*arguments: Any, **more: Any) -> Any:
        first = bool(pending)
        pending.clear()
        if first and not after:
            _other_seal(store)
        result = made(*arguments, **more)
        if first and after:
            _other_seal(store)
        return result

    monkeypatch.setattr(manifest, step, disturbed)
    assert seal(store, DOCUMENT, statistics=MEASURED).state == "sealed"
    assert not pending
    assert verify(store) == []


def test_what_another_has_sealed_never_vanishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make(tmp_path, [3, 3])
    counted = manifest.count_duplicates
    gone: list[str] = []
    monkeypatch.setattr(Store, "remove", lambda self, name: gone.append(name) or Path(self.root / name).unlink(True))

    def late(*arguments: Any, **more: Any) -> int:
        monkeypatch.setattr(manifest, "count_duplicates", counted)
        _other_seal(store)
        gone.clear()
        return counted(*arguments, **more)

    monkeypatch.setattr(manifest, "count_duplicates", late)
    seal(store, DOCUMENT, statistics=MEASURED)
    assert SUCCESS not in gone
    assert verify(store) == []


@pytest.mark.parametrize("damage", [b"", b"{}", None])
def test_a_success_of_another_manifest_is_mended(sealed: Store, damage: bytes | None) -> None:
    before = sealed.read(MANIFEST), sealed.read(SUCCESS)
    assert is_sound(sealed, DOCUMENT)
    if damage is None:
        sealed.replace(SUCCESS, before[1].replace(b"sha256", b"sha25"))
    else:
        sealed.replace(MANIFEST, damage)
    assert not is_sound(sealed, DOCUMENT)
    mend(sealed, DOCUMENT, ALL)
    assert is_sound(sealed, DOCUMENT)
    assert (sealed.read(MANIFEST), sealed.read(SUCCESS)) == before
    assert verify(sealed) == []


def test_where_parts_are_missing_the_success_goes(sealed: Store) -> None:
    sealed.remove(MANIFEST)
    sealed.remove(part_name(1))
    mend(sealed, DOCUMENT, ALL)
    assert not sealed.exists(SUCCESS)


def test_what_is_left_over_goes_with_the_seal_or_after_it(tmp_path: Path) -> None:
    store = make(tmp_path, [3, 3], {1: 1})
    left = (LEFT, suspicion_name(DOCUMENT.run, 1))
    for name in left:
        store.put_if_absent(name, b"{}")
    seal(store, DOCUMENT, max_quarantined=ALL)
    assert not any(store.exists(name) for name in left)
    for name in (*left, "_quarantine/notes.txt"):
        store.put_if_absent(name, b"{}")
    assert verify(store) == [
        "_quarantine/notes.txt belongs to no part.",
        f"{LEFT} belongs to no part: an attempt that was killed left it.",
    ]
    mend(store, DOCUMENT, ALL)
    assert not any(store.exists(name) for name in left)
    assert store.exists("_quarantine/notes.txt")
    head = read_head(store)
    assert head is not None
    assert head.summary.generation == 1


def test_the_proof_that_was_made_first_stays(tmp_path: Path) -> None:
    store = make(tmp_path, [3, 3], {1: 1})
    missed, first, second = Proof(not_made="no memory"), Proof(documents=8), Proof(documents=8, seconds=2.0)
    turns = ((None, None), (missed, missed), (None, missed), (first, first), (second, first), (missed, first))
    for made, kept in turns:
        seal(store, DOCUMENT, proof=made)  # too much is in quarantine: each is a seal anew
        head = read_head(store)
        assert head is not None
        assert head.proof == kept
        assert head.summary.generation == 1
    assert seal(store, DOCUMENT, max_quarantined=ALL, proof=second).state == "sealed"
    assert verify(store) == []
    store.replace(SUCCESS, b"{}")
    mend(store, DOCUMENT, ALL)
    mended = read_head(store)
    assert mended is not None
    assert mended.proof is not None
    assert mended.proof.documents == 8
