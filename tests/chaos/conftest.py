"""Runs that are killed, and the run that nobody disturbed: the same rows must come out of both."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from chaos.disturbance import PATIENCE_S, Command, rows
from chaos.scenes import Outcomes, stage

DOCUMENTS = 900
BATCH_DOCUMENTS = 30


@pytest.fixture(scope="session")
def corpus(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """900 documents as JSON Lines; a few of them are rejects."""
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(DOCUMENTS):
            text = "" if number % 200 == 150 else f"{texts[number % len(texts)]} {number}"
            file.write(json.dumps({"id": f"doc-{number}", "text": text}) + "\n")
    return path


@pytest.fixture(scope="session")
def job(corpus: Path, tiny_model: Path) -> list[str]:
    """The arguments of a run over that corpus, but for --out."""
    return [
        str(corpus), "--model", str(tiny_model), "--batch-docs", str(BATCH_DOCUMENTS), "--dtype", "float32"
    ]  # fmt: skip


@pytest.fixture(scope="session")
def undisturbed(job: list[str], tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """The rows of the same job, made in one process without queue or workers."""
    folder = tmp_path_factory.mktemp("oracle")
    subprocess.run(
        [sys.executable, "-m", "worker", "run", *job, "--out", str(folder / "out"), "--inline", "--json"],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=PATIENCE_S,
    )
    return rows(folder / "out")


@pytest.fixture(scope="session")
def thin_model(make_model: Callable[..., Path], texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that stands in for one, eight wide: for the model that computes nothing."""
    out = tmp_path_factory.mktemp("thin") / "model"
    return make_model(texts, out, vocab_size=600, max_positions=130, hidden_size=8)


@pytest.fixture(scope="session")
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, thin_model: Path
) -> Iterator[Outcomes]:
    """The scenes of all tests that are to run, played at the same time from the first of them on."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    names = [item.callspec.params["name"] for item in items if "outcomes" in item.fixturenames]
    with stage(names, tmp_path_factory.mktemp("stage"), thin_model) as outcomes:
        yield outcomes


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """``start("run", …)``: a command that is gone when the test is over."""
    commands: list[Command] = []

    def begin(*arguments: object, **environment: str) -> Command:
        # A small token budget: more micro-batches per batch, so that kills land in the middle of one.
        settings = {"PENSTOCK_LEASE_S": "4", "PENSTOCK_TOKEN_BUDGET": "200", **environment}
        commands.append(Command(tmp_path, *arguments, **settings))
        return commands[-1]

    yield begin
    for command in commands:
        command.stop()
