"""Five storms at the same time, one of each trouble: ten kills and more, and not one row lost or there twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from chaos.storm_plan import Trouble
from chaos.storm_record import Hit, Result, recoveries, table

ROOT = Path(__file__).resolve().parents[2]
SEEDS = 5


@pytest.mark.slow
@pytest.mark.timeout(1500)  # the patience with a hang, and a machine that is busy with other things
def test_no_storm_loses_or_doubles_a_row(tmp_path: Path) -> None:
    results_file = tmp_path / "results.jsonl"
    command = [sys.executable, "-m", "chaos.storm", "--quick", "--seeds", SEEDS, "--jobs", SEEDS]
    done = subprocess.run(
        [*map(str, command), "--folder", str(tmp_path / "storms"), "--json", str(results_file)],
        cwd=ROOT / "tests",
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout, done.stderr)  # which kills there were, where it fails
    results = [Result(**json.loads(line)) for line in results_file.read_text().splitlines()]
    assert {result.trouble for result in results} == set(Trouble)
    for result in results:
        assert sum(result.kills.values()) >= 10, result.line()
        assert (result.lost_rows, result.duplicated_rows, result.hangs) == (0, 0, 0), result.line()
        assert result.problems == [], result.line()
        assert result.deliveries >= result.batches
    assert done.returncode == 0


def test_a_recovery_is_measured_from_the_last_hit_of_a_batch(tmp_path: Path) -> None:
    part = tmp_path / "part-00000007.parquet"
    part.touch()
    made = part.stat().st_mtime
    hits = [Hit("worker", made - 50, (7, 8)), Hit("child", made - 5, (7,)), Hit("lost", made + 1, (7,))]
    assert recoveries(hits, {7: part}) == {"child": [5.0]}


def test_the_table_sums_storms_and_shows_what_is_wrong() -> None:
    good = Result(1, "noop", "none", 1, 60.0, kills={"child": 11}, batches=200, deliveries=230)
    good.recoveries = {"worker": [float(number) for number in range(1, 101)]}
    bad = Result(2, "tiny", "lose", 2, 5.0, kills={"child": 3, "redis": 1}, lost_rows=2, hangs=1, problems=["x"])
    assert bad.failed
    assert not good.failed
    shown = table([good, bad])
    assert "| storms | 2 (noop 1, tiny 1) |" in shown
    assert "| kills | 15 (child 14, parent 0, command 0, feeder 0, redis 1) |" in shown
    assert "| redeliveries | 30 |" in shown
    assert "| lost rows | 2 |" in shown
    assert "| hangs | 1 |" in shown
    assert "of 100: p50 50.0 s, p99 99.0 s" in shown
