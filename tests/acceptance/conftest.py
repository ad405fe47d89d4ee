"""Commands at hand: called in this process where nothing is started, and as real processes where something is."""

from __future__ import annotations

import io
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from acceptance.commands import Answer, call, write_jsonl
from chaos.disturbance import Command

from worker.cli import main

Ask = Callable[..., Answer]
Start = Callable[..., Command]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Ask]:
    """``ask("run", …, stdin=b"…")``: the command's own function, in the test's folder, with state of its own."""
    monkeypatch.chdir(tmp_path)
    for name in ("STATE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    root, terminate = logging.getLogger(), signal.getsignal(signal.SIGTERM)
    level = root.level

    def asked(*arguments: object, stdin: bytes = b"") -> Answer:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(stdin)))
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        said = capfd.readouterr()
        return Answer(ended.value.code if isinstance(ended.value.code, int) else 0, said.out, said.err)

    yield asked
    signal.signal(signal.SIGTERM, terminate)
    logging.captureWarnings(False)
    root.setLevel(level)
    for handler in [handler for handler in root.handlers if hasattr(handler, "penstock")]:
        root.removeHandler(handler)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """``start("run", …)``: a command in a process of its own, that is gone when the test is over."""
    commands: list[Command] = []

    def begin(*arguments: object, **environment: str) -> Command:
        commands.append(Command(tmp_path, *arguments, **environment))
        return commands[-1]

    yield begin
    for command in commands:
        command.stop()


@pytest.fixture(scope="session")
def documents(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 documents as JSON Lines: ``id``, ``text``, ``number``, ``parity``."""
    return write_jsonl(
        tmp_path_factory.mktemp("documents") / "documents.jsonl",
        [
            {"id": f"doc-{number}", "text": text, "number": number, "parity": "odd" if number % 2 else "even"}
            for number, text in enumerate(texts[:60])
        ],
    )


@pytest.fixture(scope="session")
def many(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 300 sentences: in batches of one document, work for some seconds."""
    path = tmp_path_factory.mktemp("many") / "many.jsonl"
    return write_jsonl(path, [{"id": str(number), "text": text} for number, text in enumerate(texts)])


class Sealed(NamedTuple):
    """A dataset made by `penstock run --json` with the default Redis and one worker, and what the command said.

    For reading only: tests that change it take a copy.
    """

    out: Path
    corpus: Path
    model: Path
    answer: Answer

    @property
    def arguments(self) -> list[object]:
        """The command that made it."""
        return ["run", self.corpus, "--out", self.out, "--model", self.model, *OPTIONS]


OPTIONS = ("--batch-docs", 20, "--dtype", "float32", "--devices", "cpu")


@pytest.fixture(scope="session")
def sealed(documents: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Sealed:
    """The 60 documents as a dataset of three parts."""
    folder = tmp_path_factory.mktemp("sealed")
    out = folder / "dataset"
    answer = call(folder, "run", documents, "--out", out, "--model", tiny_model, *OPTIONS, "--json")
    assert answer.code == 0, answer.err
    return Sealed(out, documents, tiny_model, answer)
