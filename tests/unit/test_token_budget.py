"""Token budgets: measured in little time, lowered where memory was too small, and remembered."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pipelines import calibration
from pipelines.batching import LEAST_TOKEN_BUDGET, lowered_budget
from pipelines.calibration import CPU_CANDIDATES, TIME_LIMIT_S, calibrate, candidates, choose
from pipelines.documents import Batch, Document, Origin
from pipelines.extract import Extractor
from pipelines.roberta.checkpoint import find
from pipelines.roberta.encoder import Encoder
from pipelines.spec import CorpusSpec, Dtype, Pooling, RunSpec, embedding_feature
from pipelines.token_budget import TokenBudget
from worker.breadcrumb import Trail, keep_budgets, kept_budgets, new_path, read
from worker.slot_budgets import MemoryWatch, SlotBudgets, oom_kills

Passes = list[int]


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Passes]:
    """Let memory be too small for passes over more tokens than a limit; lists the tokens of those that were tried."""

    def install(limit: int) -> Passes:
        tried: Passes = []
        forward = Encoder.forward

        def limited(self: Encoder, rows: Any, **asked: bool) -> Any:
            tried.append(sum(map(len, rows)))
            if tried[-1] > limit:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
            return forward(self, rows, **asked)

        monkeypatch.setattr(Encoder, "forward", limited)
        return tried

    return install


@pytest.fixture(autouse=True)
def one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several (tests/unit/test_streams.py) would have more than one pass under way when memory is too small."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)


def extractor_of(folder: Path, **options: Any) -> Extractor:
    model = find(str(folder))
    feature = embedding_feature(model, Pooling.MEAN)
    return Extractor(RunSpec(CorpusSpec(()), model, (feature,), 100, Dtype.FLOAT32, 512), **options)


def batch_of(texts: list[str]) -> Batch:
    return Batch(0, 0, [Document(str(n), text, None, Origin("memory", n, 0)) for n, text in enumerate(texts)])


def test_memory_that_was_too_small_once_is_not_tried_again(
    tiny_model: Path, texts: list[str], passes: Callable[[int], Passes], caplog: pytest.LogCaptureFixture
) -> None:
    tried = passes(700)
    budgets: dict[str, int] = {}
    extractor = extractor_of(tiny_model, token_budget=4000, budgets=budgets)
    first = extractor.extract(batch_of(texts))
    assert len(first.rejects) == 0
    failed = [tokens for tokens in tried if tokens > 700]
    assert len(failed) == 3  # about 4,000, 2,000, 1,000
    assert all(small < 0.6 * large for large, small in pairwise(failed))
    (budget,) = budgets.values()
    assert LEAST_TOKEN_BUDGET <= budget <= 700
    assert len([record for record in caplog.records if "Memory was too small" in record.message]) == len(failed)

    tried.clear()
    assert extractor.extract(batch_of(texts)).table.equals(extractor.extract(batch_of(texts)).table)
    extractor_of(tiny_model, token_budget=4000, budgets=budgets).extract(batch_of(texts))
    assert max(tried) <= budget


def test_a_budget_that_is_known_or_given_is_not_measured(
    tiny_model: Path, texts: list[str], passes: Callable[[int], Passes]
) -> None:
    tried = passes(10**6)
    budgets: dict[str, int] = {}
    extractor_of(tiny_model, token_budget=900, budgets=budgets)
    assert (list(budgets.values()), tried) == ([900], [])
    extractor_of(tiny_model, budgets=budgets)
    assert tried == []
    extractor_of(tiny_model, token_budget=5000, budgets=budgets)
    assert list(budgets.values()) == [900]
    extractor_of(tiny_model, budgets=(measured := {}))
    assert len(tried) > 0
    assert next(iter(measured.values())) in CPU_CANDIDATES


def test_the_measurement_leaves_out_what_it_has_no_time_or_memory_for(
    tiny_model: Path, passes: Callable[[int], Passes]
) -> None:
    encoder = Encoder.load(find(str(tiny_model)), torch.device("cpu"), Dtype.FLOAT32)
    tried = passes(600)
    assert calibrate(encoder, time_limit_s=0.0) == CPU_CANDIDATES[0]
    assert len(tried) == 1
    tried.clear()
    assert calibrate(encoder, time_limit_s=TIME_LIMIT_S) <= 512
    assert len([tokens for tokens in tried if tokens > 600]) == 1
    assert abs(tried[0] / CPU_CANDIDATES[0] - 1) < 0.1
    passes(0)
    assert calibrate(encoder) == CPU_CANDIDATES[0]


def test_a_shallow_encoder_is_the_same_in_two_layers(tiny_model: Path) -> None:
    encoder = Encoder.load(find(str(tiny_model)), torch.device("cpu"), Dtype.FLOAT32)
    row = np.arange(5, 25, dtype=np.int32)
    whole, shallow = encoder.forward([row]).first(), encoder.shallow().forward([row]).first()
    assert torch.equal(whole, shallow)  # the tiny model has no more
    assert candidates(torch.device("cpu")) == CPU_CANDIDATES


def test_loading_cudas_kernels_does_not_count(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first pass takes long, whatever its size; without one before them larger budgets would not be tried."""
    encoder = Encoder.load(find(str(tiny_model)), torch.device("cpu"), Dtype.FLOAT32)
    encoder.device = torch.device("cuda")
    sizes: list[int] = []

    def pass_s(_: Encoder, rows: Any) -> float:
        sizes.append(sum(map(len, rows)))
        return 2.0 if len(sizes) == 1 else 1e-4 + sizes[-1] * 1e-7

    monkeypatch.setattr(calibration, "_pass_s", pass_s)
    monkeypatch.setattr(calibration, "_has_room", lambda _: True)
    multi_processors = SimpleNamespace(multi_processor_count=132)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: multi_processors)
    assert candidates(encoder.device) == (4224, 8448, 16_896, 33_792, 67_584)
    assert calibrate(encoder) == 16_896
    assert len(sizes) == 1 + 3 * 5


def test_of_equal_rates_the_smaller_budget_is_chosen() -> None:
    assert choose({512: 80.0, 1024: 97.0, 2048: 100.0, 4096: 99.0}) == 1024
    assert choose({512: 80.0, 1024: 90.0, 2048: 100.0}) == 2048
    assert choose({512: 1.0}) == 512


@pytest.mark.parametrize(
    ("budget", "wanted", "lowered"),
    [(4096, 2000.7, 2001), (4096, 9000.0, 4096), (300, 150.0, 256), (100, 50.0, 100), (4096, 10.0, 256)],
)
def test_a_budget_is_lowered_down_to_the_least(budget: int, wanted: float, lowered: int) -> None:
    assert lowered_budget(budget, wanted) == lowered


def test_micro_batches_at_hand_are_cut_anew_when_the_budget_is_lowered() -> None:
    budget = TokenBudget({}, "encoder", lambda: 0, 1000)
    costs = np.full(40, 100.0)
    groups = []
    for group in budget.micro_batches(costs):
        groups.append(len(group))
        if len(groups) == 2:
            budget.lower([np.arange(5), np.arange(5)], costs)
    assert groups == [10, 10, 5, 5, 5, 5]


def test_a_slot_remembers_its_budgets_beside_its_breadcrumbs(tmp_path: Path) -> None:
    page = new_path()
    try:
        SlotBudgets(page)["abc bfloat16 cpu"] = 2048
        trail = Trail(page, 60.0)
        trail.drop("run", 3, "forward", range(60_000))
        trail.wait()
        crumb = read(page)
        assert crumb is not None
        assert len(crumb.documents) == 60_000
        assert dict(SlotBudgets(page)) == {"abc bfloat16 cpu": 2048}
        many = SlotBudgets(page)
        for number in range(40):
            many[f"{number:012d} bfloat16 cuda"] = 33_792
        assert list(SlotBudgets(page))[-1] == "000000000039 bfloat16 cuda"
    finally:
        page.unlink()
    assert kept_budgets(page) == {}


@pytest.mark.parametrize("stage", ["tokenise", "forward", "wait"])
def test_a_child_that_the_kernel_killed_leaves_half_its_budgets(tmp_path: Path, stage: str) -> None:
    """Passes may be under way whatever its main thread does."""
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("nr_free_pages 5\noom_kill 7\n")
    page = new_path()
    try:
        watch = MemoryWatch(vmstat)
        Trail(page, 60.0).drop("run", 3, stage, range(9))
        keep_budgets(page, {"a": 4096, "b": 300})
        watch.after_death(page, read(page), killed=True)  # somebody else's doing: the kernel killed nobody
        assert kept_budgets(page) == {"a": 4096, "b": 300}
        vmstat.write_text("nr_free_pages 5\noom_kill 8\n")
        watch.after_death(page, read(page), killed=True)
        assert kept_budgets(page) == {"a": 2048, "b": 256}
        watch.after_death(page, read(page), killed=True)
        assert kept_budgets(page) == {"a": 2048, "b": 256}
    finally:
        page.unlink()


def test_where_the_kernel_does_not_count_no_death_is_laid_to_memory(tmp_path: Path) -> None:
    assert oom_kills(tmp_path / "none") == 0
    (tmp_path / "odd").write_text("oom_kill many\n\n")
    assert oom_kills(tmp_path / "odd") == 0
