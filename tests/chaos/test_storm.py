"""Five storms at the same time, one of each trouble: ten kills and more, and not one row lost or there twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chaos.noop_model import vectors
from chaos.storm_check import check
from chaos.storm_material import Material, expected
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
    good.recoveries = {"child": [9.0], "worker alone": [float(number) for number in range(1, 101)]}
    bad = Result(2, "tiny", "lose", 2, 5.0, kills={"child": 3, "redis": 1}, lost_rows=2, hangs=1, problems=["x"])
    assert bad.failed
    assert not good.failed
    shown = table([good, bad])
    assert "| storms | 2 (noop 1, tiny 1) |" in shown
    assert "| kills | 15 (child 14, parent 0, command 0, feeder 0, redis 1) |" in shown
    assert "| redeliveries | 30 |" in shown
    assert "| lost rows | 2 |" in shown
    assert "| hangs | 1 |" in shown
    assert "| recovery of a killed worker | of 100: p50 50.0 s, p99 99.0 s, wanted ≤ 135 s |" in shown
    assert "storm goes on: killed child | of 1: p50 9.0 s, p99 9.0 s |" in shown


def test_the_check_sees_what_is_missing_there_twice_and_wrong(tmp_path: Path) -> None:
    ids, digests, rejects = expected()
    values = vectors(digests, 8)

    def written(name: str, order: list[int], spoilt: int | None = None) -> Path:
        (tmp_path / name / "data").mkdir(parents=True)
        (tmp_path / name / "_quarantine").mkdir()
        rows = values.copy()
        if spoilt is not None:
            rows[spoilt] += np.float32(1e-3)
        columns = {
            "id": pa.array([ids[index] for index in order]),
            "input_digest": pa.array([digests[index] for index in order], pa.binary(16)),
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(rows[order].reshape(-1)), 8),
        }
        pq.write_table(pa.table(columns), tmp_path / name / "data" / "part-00000000.parquet")
        pq.write_table(pa.table({"id": rejects}), tmp_path / name / "_quarantine" / "part-00000000-0.parquet")
        return tmp_path / name

    def found(out: Path) -> tuple[int, int, str]:
        findings = check(out, Material(tmp_path), "noop")
        return findings.lost, findings.duplicated, " ".join(findings.problems)

    whole = list(range(len(ids)))
    unsealed = found(written("whole", whole))
    assert unsealed[:2] == (0, 0)
    assert unsealed[2] == "there is no _SUCCESS"
    assert found(written("missing", whole[:-3]))[:2] == (3, 0)
    assert found(written("twice", [0, *whole]))[:2] == (0, 1)
    assert "corpus's order" in found(written("turned", [1, 0, *whole[2:]]))[2]
    assert "vectors differ" in found(written("spoilt", whole, spoilt=7))[2]
