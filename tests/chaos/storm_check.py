"""What became of a storm's run, read from its files: nothing of what made them is asked, but for `penstock verify`."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from chaos.noop_model import vectors
from chaos.storm_material import Material, expected

TOLERANCE = 1e-5


@dataclass
class Findings:
    """How many rows are missing or there twice, and everything else that is wrong, in words."""

    lost: int = 0
    duplicated: int = 0
    problems: list[str] = field(default_factory=list)


def check(out: Path, material: Material, model: str) -> Findings:
    """Compare a finished dataset with what the corpus says it must hold."""
    findings = Findings()
    ids, digests, rejects = expected()
    table = _rows(out)
    found = table.column("id").to_pylist()
    counted = Counter(found)
    findings.duplicated = sum(count - 1 for count in counted.values())
    findings.lost = len(set(ids) - set(counted))
    if surplus := set(counted) - set(ids):
        findings.problems.append(f"{len(surplus)} rows that no document of the corpus explains, {min(surplus)} first")
    if found != ids:
        findings.problems.append("the rows are not the corpus's documents in the corpus's order")
    else:
        if table.column("input_digest").to_pylist() != digests:
            findings.problems.append("input digests differ from the texts'")
        there, wanted = _embedding(table), _wanted(material, model, digests)
        tolerance = TOLERANCE if model == "tiny" else 0.0
        if there.shape != wanted.shape or not np.allclose(there, wanted, rtol=0, atol=tolerance):
            findings.problems.append("vectors differ from the undisturbed run's")
    if (quarantined := _quarantined(out)) != sorted(rejects):
        findings.problems.append(f"{len(quarantined)} documents in quarantine, wanted were {len(rejects)} others")
    if not (out / "_SUCCESS").exists():
        findings.problems.append("there is no _SUCCESS")
        return findings
    verified = subprocess.run(
        [sys.executable, "-m", "worker", "verify", str(out)], capture_output=True, text=True, check=False
    )
    if verified.returncode != 0:
        findings.problems.append(f"penstock verify: {verified.stderr.strip()[-300:]}")
    return findings


def parts(out: Path) -> dict[int, Path]:
    """Batch → its part, of those that are there."""
    names = ((re.fullmatch(r"part-(\d+)\.parquet", path.name), path) for path in (out / "data").glob("*.parquet"))
    return {int(match[1]): path for match, path in sorted(names, key=lambda pair: pair[1].name) if match}


def _rows(out: Path) -> pa.Table:
    wanted = ["id", "input_digest", "embedding"]
    tables = [pq.read_table(path, columns=wanted, partitioning=None) for path in parts(out).values()]
    return pa.concat_tables(tables) if tables else pa.table({name: pa.array([], pa.string()) for name in wanted})


def _embedding(table: pa.Table) -> npt.NDArray[np.float32]:
    return np.stack(table.column("embedding").to_numpy())


def _wanted(material: Material, model: str, digests: list[bytes]) -> npt.NDArray[np.float32]:
    return vectors(digests, 8) if model == "noop" else _embedding(_rows(material.undisturbed))


def _quarantined(out: Path) -> list[str]:
    ids: list[str] = []
    for path in (out / "_quarantine").glob("*.parquet"):
        ids += pq.read_table(path, columns=["id"], partitioning=None).column("id").to_pylist()
    return sorted(ids)
