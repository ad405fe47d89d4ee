"""Every feature gives on a CUDA device what it gives on the CPU, and what it has to do there waits for nothing."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from benchmarks.feature_costs import Contestant, prepare
from gpu.conftest import DEVICE

from pipelines.spec import Dtype


def alike(here: Any, there: Any) -> bool:
    """Whether two values of a column are, but for the rounding of floats."""
    if isinstance(here, list):
        return len(here) == len(there) and all(map(alike, here, there))
    if isinstance(here, dict):
        return here.keys() == there.keys() and all(alike(value, there[key]) for key, value in here.items())
    if isinstance(here, float):
        return math.isclose(here, there, rel_tol=1e-3, abs_tol=2e-3)
    return bool(here == there)


@contextmanager
def nothing_waits() -> Iterator[None]:
    """Whatever waits for the device in here raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that this mode is a prototype
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_it_is_that_of_the_cpu(feature: Contestant, heads: Path, corpora: dict[str, Path]) -> None:
    made = []
    for device in ("cpu", DEVICE):
        extractor, batch = prepare(feature, heads, corpora, Dtype.FLOAT32, device)
        made.append(extractor.extract(batch))
    here, there = made
    assert there.rejects == []
    assert there.table.schema.equals(here.table.schema)
    for column in here.table.column_names:
        pairs = zip(here.table[column].to_pylist(), there.table[column].to_pylist(), strict=True)
        assert all(alike(*pair) for pair in pairs), column


def test_handing_it_over_waits_for_nothing(feature: Contestant, heads: Path, corpora: dict[str, Path]) -> None:
    extractor, batch = prepare(feature, heads, corpora, Dtype.BFLOAT16, DEVICE)
    extractor.extract(batch)  # kernels are loaded, memory is pinned
    for forward in extractor._forwards:
        read = [one for one in forward.reading.read(batch.documents) if hasattr(one, "rows")]
        rows = [row for one in read for row in one.rows]
        notes = [note for one in read for note in one.notes or (None,) * len(one.rows)]
        forward.compute(rows, notes).values()
        with nothing_waits():
            fetch = forward.compute(rows, notes)
        assert fetch.values()
        assert fetch.is_ready
