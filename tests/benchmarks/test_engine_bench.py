"""The benchmark of the engine works from end to end, and its page is what its results say."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from benchmarks.engine import goals, page, texts
from benchmarks.engine.levels import FULL
from benchmarks.engine.match import with_rates
from benchmarks.engine.models import BASE, LARGE
from benchmarks.engine.plots import NAMES

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a smoke run wrote, on made-up texts."""
    folder = tmp_path_factory.mktemp("bench")
    environment = {name: value for name, value in os.environ.items() if name != "PENSTOCK_TEST_DATA"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.engine.bench", "--smoke", "--out", folder, "--work", folder / "work"],
        cwd=ROOT,
        env=environment | {"PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)  # a dozen processes that load torch, on a machine that is busy with other tests
def test_a_smoke_run_measures_everything_and_writes_its_page(smoke: Path) -> None:
    results = json.loads((smoke / "benchmarks.json").read_text())
    ours = [name for name, about in results["contestants"].items() if about["ours"]]
    assert {"penstock fp32", "penstock bf16"} <= set(ours)
    assert "transformers pipeline" in results["contestants"], results["absent"]
    assert list(results["matches"]) == list(results["ceilings"]) == ["short", "mix"]
    for name, match in results["matches"].items():
        assert set(match) == set(results["contestants"])
        assert len(results["ceilings"][name]) == results["rounds"]
        for value in match.values():
            assert len(value["seconds"]) == len(value["gflops"]) == results["rounds"]
            assert all(math.isfinite(number) and number > 0 for number in value["gflops"])
    for name, cosines in results["agreement"]["cosines"].items():
        wanted = {"fp32": 0.99999, "bf16": 0.999, "int8": 0.99}[results["contestants"][name]["kind"]]
        assert cosines["min"] > wanted, name
    assert results["tokenizer"]["same_ids"]
    for part in ("many_answers", "tokenizer", "journey"):
        assert all(math.isfinite(ratio) and ratio > 0 for ratio in results[part]["ratios"])
    assert results["journey"]["memory"]["worker_peak_bytes"] > results["journey"]["memory"]["safetensors_bytes"]
    measured = {row["figure"]: row["value"] for row in results["goals"]}
    assert measured["text → Parquet through Redis / bare engine"] is not None
    assert all(value is None or math.isfinite(value) for value in measured.values())
    assert all(row["verdict"] in ("reached", "not reached", "not measured") for row in results["goals"])
    text = (smoke / "benchmarks.md").read_text(encoding="utf-8")
    assert "Preliminary: a smoke run" in text
    assert all(name in text for name in results["contestants"])


def test_the_page_is_what_the_stored_results_say() -> None:
    written = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    if not (DOCS / "benchmarks.json").exists():
        assert written == page.empty_page(FULL.pass_s, FULL.rounds)
        return
    results = json.loads((DOCS / "benchmarks.json").read_text(encoding="utf-8"))
    drawn = [name for name in NAMES if (DOCS / f"benchmarks-{name}.png").exists()]
    assert goals.goals(results) == results["goals"]
    assert written == page.page(results, drawn), "run `python -m benchmarks.engine.bench --page-only`"


def test_flops_are_those_of_the_formula() -> None:
    """2 N + 4 L h S for each token, with N = 84.9 million weights for base and 302.0 million for large."""
    assert BASE.flops([128] * 3) == pytest.approx(3 * 128 * (169.87e6 + 36_864 * 128), rel=1e-3)
    assert LARGE.flops([512]) == pytest.approx(512 * (603.98e6 + 98_304 * 512), rel=1e-3)


def test_rates_are_medians_and_the_spread_is_a_share_of_them() -> None:
    found: dict[str, Any] = {"a": {"documents": 4, "seconds": [2.0, 1.0, 4.0]}}
    value = with_rates(found, [10, 20, 30, 40, 50], BASE)["a"]
    assert value["tokens"] == 100
    assert value["documents_per_s"] == [2.0, 4.0, 1.0]
    assert (value["median_documents_per_s"], value["tokens_per_s"]) == (2.0, 50.0)
    assert value["spread"] == 1.5


def test_ratios_are_taken_round_by_round_and_missing_ones_are_not_measured() -> None:
    match = {"penstock bf16": {"gflops": [20.0, 10.0, 40.0]}, "a peer": {"gflops": [10.0, 5.0, 10.0]}}
    results = {"matches": {"short": match}, "ceilings": {"short": [{"bf16": {"layer": 40.0}}] * 3}}
    assert goals.over(results, "penstock bf16", "a peer", "short") == 2.0
    assert goals.of_ceiling(results, "bf16", "short") == 0.5
    assert goals.over(results, "penstock bf16", "nobody", "short") is None
    assert goals.over(results, "penstock bf16", "a peer", "mix") is None
    assert goals.of_ceiling(results, "int8", "short") is None


def test_made_up_texts_are_the_same_every_time_and_begin_anew_at_their_end() -> None:
    corpus = texts.Corpus("short", "made-up words", tuple(texts.synthetic("short", 3)))
    assert list(corpus.texts) == texts.synthetic("short", 3)
    assert corpus.first(7) == [*corpus.texts, *corpus.texts, corpus.texts[0]]
    lengths = {name: sum(map(len, texts.synthetic(name, 200))) for name in texts.MADE_UP_WORDS}
    assert lengths["very_short"] < lengths["short"] < lengths["long"]
