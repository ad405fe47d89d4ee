"""Whatever is changed in a sealed dataset, `verify` finds and names."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from unit.made_runs import ALL, DOCUMENT

from pipelines.errors import VerificationError
from pipelines.parts.layout import MANIFEST, PLAN_SEALED, RUN, SUCCESS, part_name, segment_name
from pipelines.parts.manifest import load_summary, seal
from pipelines.parts.run_document import load, put_if_absent
from pipelines.parts.store import Store
from pipelines.parts.verify import verify


def everything(store: Store) -> list[str]:
    names = [*(f"data/{name}" for name in store.list("data")), *(f"_quarantine/{n}" for n in store.list("_quarantine"))]
    return [*names, MANIFEST, SUCCESS, PLAN_SEALED, RUN, *(segment_name(number) for number in range(4))]


def test_any_flipped_bit_is_found_and_named(sealed: Store) -> None:
    chance = random.Random(7)
    for name in everything(sealed):
        original = sealed.read(name)
        for place in {0, len(original) - 1, *(chance.randrange(len(original)) for _ in range(6))}:
            changed = bytearray(original)
            changed[place] ^= 1 << chance.randrange(8)
            sealed.replace(name, bytes(changed))
            found = verify(sealed)
            assert all("\n" not in line for line in found)
            if name.endswith(".parquet") or "seg-" in name:
                assert any(name in line or PLAN_SEALED in line for line in found), (name, place, found)
            elif name in (MANIFEST, SUCCESS):
                assert found, (name, place)
            # The rest is JSON in which blanks mean nothing: there it must only not raise.
        sealed.replace(name, original)
    assert verify(sealed) == []


def test_any_missing_or_cut_file_is_found_and_named(sealed: Store) -> None:
    for name in everything(sealed):
        original = sealed.read(name)
        for content in (original[: len(original) // 2], b"", None):
            sealed.remove(name) if content is None else sealed.replace(name, content)
            found = verify(sealed)
            assert found, (name, content)
            assert name in (SUCCESS, PLAN_SEALED) or any(name in line for line in found), (name, found)
        sealed.replace(name, original)
    assert verify(sealed) == []


def test_a_manifest_that_lies_is_found(sealed: Store) -> None:
    original = json.loads(sealed.read(MANIFEST))
    lines = sealed.read(MANIFEST).decode()
    for old, new in (
        (f'"rows": {original["rows"]}', '"rows": 9'),
        ('"tokens": 90', '"tokens": 91'),
        ('"seconds": ', '"seconds": 1'),
        ('"name": "data/part-00000001.parquet"', '"name": "../../etc/passwd"'),
        ('"batch": 1,', '"batch": "1",'),
        ('"batch": 1,', '"batch": 7,'),
    ):
        assert old in lines
        changed = lines.replace(old, new)
        sealed.replace(MANIFEST, changed.encode())
        sealed.remove(SUCCESS)  # which holds the digest, and would tell at once
        assert len(verify(sealed)) >= 2, (old, verify(sealed))


def test_parts_that_swapped_places_are_found(sealed: Store) -> None:
    first, second = sealed.path(part_name(0)), sealed.path(part_name(1))
    content = first.read_bytes(), second.read_bytes()
    first.write_bytes(content[1])
    second.write_bytes(content[0])
    found = verify(sealed)
    assert [part_name(0) in found[0], part_name(1) in found[1]] == [True, True]
    with pytest.raises(VerificationError, match="part-00000000"):
        seal(sealed, DOCUMENT, max_quarantined=ALL)


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    assert verify(Store(tmp_path)) == [f"{RUN} is missing: the run was never sealed, or the file was removed."]
    assert load(Store(tmp_path)) is None
    assert load_summary(Store(tmp_path)) is None


def test_the_run_document_is_written_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert put_if_absent(store, DOCUMENT)
    assert not put_if_absent(store, DOCUMENT)
    assert load(store) == DOCUMENT
