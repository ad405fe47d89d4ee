"""What users install: the built wheel, in a folder of its own, does a whole small job without the source tree."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.dataset as ds
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(built_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel is installed in; its dependencies are those of this interpreter."""
    target = tmp_path_factory.mktemp("installed")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, built_wheel],
        check=True,
        capture_output=True,
    )
    return target


def _run(installed: Path, folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, str(installed / "bin" / "penstock"), *map(str, arguments)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_its_modules_are_those_that_run(installed: Path, tmp_path: Path) -> None:
    code = "import pipelines, tasks, worker; print(*(m.__file__ for m in (pipelines, tasks, worker)), sep='\\n')"
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(installed)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(Path(line).is_relative_to(installed) for line in answer.stdout.splitlines())


@pytest.mark.slow
def test_it_does_a_job(installed: Path, tmp_path: Path, small_corpus: Path, tiny_model: Path) -> None:
    out = tmp_path / "dataset"
    arguments = (small_corpus, "--out", out, "--model", tiny_model, "--keep", "parity", "--devices", "cpu", "--json")
    answer = _run(installed, tmp_path, "run", *arguments)
    assert answer.returncode == 0, answer.stderr
    summary = json.loads(answer.stdout)
    assert (summary["state"], summary["documents"], summary["rows"], summary["quarantined"]) == ("sealed", 300, 300, 0)
    table = ds.dataset(out / "data").to_table()
    assert table["id"].to_pylist() == [f"doc-{number}" for number in range(300)]
    assert {"embedding", "n_tokens", "n_used", "input_digest", "parity"} <= set(table.column_names)
    assert (out / "_SUCCESS").exists()
    verified = _run(installed, tmp_path, "verify", out)
    assert verified.returncode == 0, verified.stderr


def test_its_help_names_every_command(installed: Path, tmp_path: Path) -> None:
    answer = _run(installed, tmp_path, "--help")
    assert answer.returncode == 0, answer.stderr
    for name in ("run", "submit", "worker", "status", "resume", "cancel", "verify", "quarantine", "doctor", "config"):
        assert name in answer.stdout


def test_the_examples_run_on_it(installed: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples" / "make_corpus.py", tmp_path)
    subprocess.run([sys.executable, "make_corpus.py", "corpus.jsonl"], cwd=tmp_path, check=True, capture_output=True)
    lines = (tmp_path / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    documents = [json.loads(line) for line in lines]
    assert len(documents) > 5000
    assert len({document["id"] for document in documents}) == len(documents)
    assert all(document["text"].strip() and document["module"] for document in documents)
