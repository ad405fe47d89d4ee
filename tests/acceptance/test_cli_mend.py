"""What `resume` mends in a sealed folder, and what `cancel` says of a replay."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from acceptance.conftest import Ask, Sealed
from chaos.disturbance import until

HOLD = """
import sys, time
from pathlib import Path
from pipelines.parts.store import Store
from tasks.runs import locked
try:
    with locked(Store(Path(sys.argv[1])), command="quarantine replay", broker_url=None):
        time.sleep(600)
except KeyboardInterrupt:
    sys.exit(130)
"""
LEFT = "_quarantine/part-00000000-00000000.parquet"


@pytest.fixture
def copy(sealed: Sealed, tmp_path: Path) -> Path:
    """A dataset to damage."""
    out = tmp_path / "copy"
    shutil.copytree(sealed.out, out)
    return out


def _evidence(out: Path) -> None:
    (out / "_quarantine").mkdir(exist_ok=True)
    (out / LEFT).touch()


def _other_success(out: Path) -> None:
    value = json.loads((out / "_SUCCESS").read_text())
    (out / "_SUCCESS").write_text(json.dumps(value | {"manifest_sha256": "0" * 64}))


@pytest.mark.parametrize("damage", [_evidence, _other_success])
def test_resume_mends_a_sealed_folder(copy: Path, ask: Ask, damage: Callable[[Path], None]) -> None:
    damage(copy)
    found = ask("verify", copy)
    assert found.code == 6
    assert f"`penstock resume {copy}` mends that." in found.err
    resumed = ask("resume", copy, "--json")
    assert (resumed.code, resumed.value["state"]) == (0, "sealed"), resumed.err
    assert ask("verify", copy).code == 0


@pytest.mark.parametrize("begun", [False, True])
def test_a_replay_that_is_cancelled_goes_on_as_a_replay(copy: Path, ask: Ask, begun: bool) -> None:
    if begun:
        (copy / "_SUCCESS").unlink()
        (copy / "_replay.json").write_text('{"generation": 2, "reason": "crash"}')
    else:
        assert "is sealed, there is nothing to cancel" in ask("cancel", copy).err
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(copy)])
    try:
        until((copy / "_live.json").exists, "a command that holds the folder")
        answer = ask("cancel", copy)
        assert answer.code == 0, answer.err
        assert holder.wait(60) == 130
    finally:
        holder.kill()
        holder.wait()
    advice = (
        f"`penstock quarantine replay {copy} --reason crash` goes on; `penstock resume {copy}` seals what is there."
    )
    assert answer.out == f"Cancelled; {advice if begun else 'the dataset stays sealed.'}\n"
