"""The page about int8 is what its stored results say, and they pass the gate."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.label_agreement import tables

DOCS = Path(__file__).resolve().parents[2] / "docs"
RESULTS = json.loads((DOCS / "int8.json").read_text(encoding="utf-8"))


def test_the_tables_are_those_of_the_stored_results() -> None:
    assert "\n".join(tables(RESULTS)) in (DOCS / "int8.md").read_text(encoding="utf-8")


def test_int8_passed_the_gate() -> None:
    assert RESULTS["tasks"]
    for name, task in RESULTS["tasks"].items():
        assert task["formats"]["float32"]["accuracy"] >= 0.8, name  # it was trained
        assert task["formats"]["int8"]["agreement"] >= 0.99, name
        assert task["formats"]["int8"]["min_cosine"] >= 0.995, name
