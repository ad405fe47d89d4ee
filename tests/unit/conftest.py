"""Sealed runs for the tests of the parts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from unit.made_runs import ALL, DOCUMENT, make

from pipelines.parts.manifest import seal
from pipelines.parts.store import Store


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = make(tmp_path_factory.mktemp("template") / "out", [4, 4, 2, 3], {0: 1, 2: 2})
    seal(store, DOCUMENT, max_quarantined=ALL)
    return store.root


@pytest.fixture
def sealed(template: Path, tmp_path: Path) -> Store:
    shutil.copytree(template, tmp_path / "out")
    made = Store(tmp_path / "out")
    made.create()
    return made
