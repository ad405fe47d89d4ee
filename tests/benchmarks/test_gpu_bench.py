"""What a GPU is measured with works: it is tried out on a CPU with a tiny model."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.timeout(600)  # processes that load torch, on a machine that is busy with other tests
def test_it_measures_everything_and_prints_a_table(tmp_path: Path) -> None:
    words = ["--device", "cpu", "--dtype", "float32", "--shapes", "tiny", "--seconds", "0.05"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *words, "--work", tmp_path, "--out", tmp_path / "gpu.json"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    shape = found["shapes"]["tiny"]
    assert "skipped" in found["checks"] or "passed" in found["checks"]
    for kind in shape["ids"].values():
        rates = [value for value in kind.values() if isinstance(value, float)] + [*kind["peers"].values()]
        assert len(rates) >= 4 + 3
        assert all(math.isfinite(number) and number > 0 for number in rates)
    assert shape["text"]["extractor_documents_per_s"] > 0
    assert shape["text"]["run_documents_per_s"] > 0
    lines = done.stdout.splitlines()
    assert sum(line.startswith("| tiny |") for line in lines) == len(shape["ids"]) + 1
    assert "not measured" not in done.stdout
