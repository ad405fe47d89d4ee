"""Documents that kill the process that computes them: they alone are quarantined, all others have their rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from chaos.disturbance import Command
from chaos.poison_corpus import POISON, UNREADABLE
from chaos.poison_run import MOST_DEATHS, poison_run

TESTS = Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_poison_is_found_and_nothing_else(thin_model: Path, tmp_path: Path) -> None:
    """A hang, an abort by a real limit on memory, and a segfault and a kill in one batch, among 5,000 documents."""
    items = [item for item in POISON if item.way in ("abort", "hang")] + [*POISON[-2:], *UNREADABLE]
    lines = poison_run(
        tmp_path,
        thin_model,
        items,
        documents=5_000,
        batch_docs=250,
        PENSTOCK_INCLUDE="chaos.noop_model,chaos.poison",
        PENSTOCK_HANG_LIMIT_S="4",
        NOOP_MICRO_BATCH="16",
    )
    assert [line.deaths for line in lines] == [4, 4, 4, 4, 0, 0]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hang_is_found_where_micro_batches_take_longer_than_leases(thin_model: Path, tmp_path: Path) -> None:
    """The time of a hang (20 x 0.5 s) is five times the lease: the watch over leases must not be faster."""
    lines = poison_run(
        tmp_path,
        thin_model,
        [item for item in POISON if item.way == "hang"],
        documents=64,
        batch_docs=32,
        PENSTOCK_INCLUDE="chaos.noop_model,chaos.poison",
        PENSTOCK_LEASE_S="2",
        PENSTOCK_HANG_LIMIT_S="2",
        NOOP_MICRO_BATCH="8",
        NOOP_PAUSE_S="0.5",
    )
    assert [line.deaths for line in lines] == [4]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_the_engine_isolates_and_what_it_leaves_to_the_next_process(tiny_model: Path, tmp_path: Path) -> None:
    """NaN and a refused allocation cost a document, a device assert and a segfault also their process.

    With two threads, so that several micro-batches are in hand when a process dies of one of them.
    """
    items = [item for item in POISON if item.way in ("memory", "device", "nan", "segfault")]
    lines = poison_run(
        *(tmp_path, tiny_model, items),
        documents=400,
        batch_docs=40,
        PENSTOCK_TOKEN_BUDGET="120",
        OMP_NUM_THREADS="2",
    )
    deaths = {line.poison.way: line.deaths for line in lines}
    assert (deaths["memory"], deaths["nan"]) == (0, 0)
    assert 3 <= deaths["device"] <= MOST_DEATHS
    assert 3 <= deaths["segfault"] <= MOST_DEATHS


def test_a_model_that_kills_whoever_loads_it_ends_the_run(
    start: Callable[..., Command], small_corpus: Path, tiny_model: Path, tmp_path: Path
) -> None:
    command = start(
        *("run", small_corpus, "--out", tmp_path / "out", "--model", tiny_model),
        PENSTOCK_INCLUDE="chaos.deadly_model",
        PYTHONPATH=str(TESTS),
    )
    assert command.wait() == 3, command.tail()
    assert "dies while it loads the model" in command.tail()
