"""`penstock quarantine replay` as people meet it, and what the other commands say meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from acceptance.commands import SUMMARY_KEYS, call
from acceptance.conftest import Ask
from chaos.disturbance import assert_same_rows, rows
from unit.poisoned import ALL, CRASH, MEMORY, poisoned, poisoned_run, write_corpus

from pipelines.parts.manifest import seal
from pipelines.replay import replay
from pipelines.roberta.tokenizer import Tokenizer
from tasks.runs import load_run, locked


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "corpus.jsonl")


@pytest.fixture(scope="module")
def clean(corpus: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return poisoned_run(tmp_path_factory.mktemp("clean") / "out", corpus, tiny_model)[0].root


@pytest.fixture(scope="module")
def template(corpus: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return poisoned_run(tmp_path_factory.mktemp("template") / "out", corpus, tiny_model, CRASH, MEMORY)[0].root


@pytest.fixture
def out(template: Path, tmp_path: Path) -> Path:
    """A sealed run of 60 documents: 13 crashed, 3 were too large, 2 could not be read."""
    return Path(shutil.copytree(template, tmp_path / "out"))


class StoppedError(Exception):
    pass


@pytest.fixture
def interrupted(out: Path) -> Path:
    """The same run, after a replay of the crashes that came to its first part only."""

    def stop(*_: object) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        replay(*load_run(out), on_part=stop)
    return out


def test_a_process_of_its_own_makes_the_dataset_whole(out: Path, clean: Path, tmp_path: Path) -> None:
    answer = call(tmp_path, "quarantine", "replay", "out", "--devices", "cpu")
    assert answer.code == 0, answer.err
    assert "Replayed 16 documents: 16 have a row now, 0 failed again.\nSealed: 58 rows of 60" in answer.out
    assert "2 in quarantine: 2 bad_json" in answer.out
    assert_same_rows(out, rows(clean))
    assert not (out / "_live.json").exists()


def test_what_fails_again_is_said_and_counted(out: Path, ask: Ask) -> None:
    with poisoned(CRASH):
        answer = ask("quarantine", "replay", "out", "--in-this-process", "--json")
    assert answer.code == 0, answer.err
    assert answer.value.keys() >= SUMMARY_KEYS
    assert answer.value["replayed"] == {"documents": 16, "recovered": 3, "parts": 4}
    assert (answer.value["state"], answer.value["rows"], answer.value["generation"]) == ("sealed", 45, 2)
    shown = ask("quarantine", "show", "out", "--reason", "crash", "--json").value["quarantine"]
    assert {row["attempts"] for row in shown} == {1}
    assert ask("quarantine", "replay", "out", "--reason", "crash", "--json").value["replayed"]["recovered"] == 13
    assert ask("verify", "out").code == 0
    nothing = ask("quarantine", "replay", "out")
    assert nothing.out.startswith("Replayed 0 documents")
    assert ask("status", "out", "--json").value["generation"] == 3


def test_what_cannot_be_replayed_is_refused(out: Path, ask: Ask, tmp_path: Path) -> None:
    reading = ask("quarantine", "replay", "out", "--reason", "bad_json")
    assert reading.code == 2
    assert "wanted one of not_finite, crash, timeout, out_of_memory" in reading.refusal
    assert ask("quarantine", "replay", tmp_path).code == 3
    store, _ = load_run(out)
    with locked(store, command="run", broker_url=None):
        held = ask("quarantine", "replay", "out")
    assert held.code == 3
    assert "is held by `penstock run`" in held.refusal
    assert ask("verify", "out").code == 0


def test_after_an_interruption_every_command_says_how_to_go_on(interrupted: Path, ask: Ask) -> None:
    goes_on = f"`penstock quarantine replay {interrupted}` goes on"
    standing = ask("status", "out", "--json").value
    assert (standing["state"], standing["live"]) == ("interrupted", False)
    assert goes_on in standing["advice"]
    assert goes_on in ask("status", "out").out
    differs = ask("verify", "out")
    assert differs.code == 6
    assert "a replay of the quarantine was interrupted" in differs.refusal
    assert goes_on in differs.refusal
    other = ask("quarantine", "replay", "out", "--reason", "crash")
    assert other.code == 2
    assert goes_on in other.refusal
    assert ask("quarantine", "replay", "out", "--json").value["replayed"] == {
        "documents": 13,
        "recovered": 13,
        "parts": 3,
    }
    assert ask("verify", "out").code == 0


def test_an_interrupt_is_130_and_says_how_to_go_on(out: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = Tokenizer.encode

    def interrupting(self: Tokenizer, texts: list[str], *arguments: Any) -> Any:
        if any("33:" in text for text in texts):
            signal.raise_signal(signal.SIGINT)
        return encode(self, texts, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Tokenizer, "encode", interrupting)
        answer = ask("quarantine", "replay", "out", "--in-this-process")
    assert answer.code == 130
    assert f"`penstock quarantine replay {out}` goes on." in answer.refusal
    assert ask("status", "out", "--json").value["state"] == "interrupted"
    assert ask("quarantine", "replay", "out", "--json").value["replayed"]["documents"] == 11
    assert ask("verify", "out").code == 0


@pytest.mark.parametrize("how", ["resume --inline", "resume", "run"])
def test_resume_and_run_seal_what_an_interrupted_replay_left(
    interrupted: Path, corpus: Path, tiny_model: Path, how: str, tmp_path: Path
) -> None:
    spec = (corpus, "--out", "out", "--model", tiny_model, "--keep", "number:int64", "--max-tokens", 16)
    command = ("run", *spec) if how == "run" else (*how.split(), "out")
    answer = call(tmp_path, *command, "--max-quarantined", "100%", "--devices", "cpu", "--json")
    assert answer.code == 0, answer.err
    assert (answer.value["state"], answer.value["quarantined"], answer.value["generation"]) == ("sealed", 15, 2)
    assert call(tmp_path, "verify", "out").code == 0
    assert call(tmp_path, "quarantine", "replay", "out", "--json").value["replayed"]["recovered"] == 13


def test_resume_gives_dead_letters_new_attempts(out: Path, clean: Path, tmp_path: Path, ask: Ask) -> None:
    store, document = load_run(out)
    store.remove("data/part-00000002.parquet")
    assert seal(store, document, max_quarantined=ALL, dead={2: "5 attempts failed"}).dead_letter_documents == 10
    replayed = ask("quarantine", "replay", "out", "--json")
    assert replayed.code == 5
    assert replayed.value["dead_letter_documents"] == 10
    assert "penstock resume" in replayed.value["error"]["hint"]
    answer = call(tmp_path, "resume", "out", "--devices", "cpu", "--json")
    assert answer.code == 0, answer.err
    assert (answer.value["rows"], answer.value["dead_letter_documents"]) == (58, 0)
    assert_same_rows(out, rows(clean))


def replay_of(out: Path, patch: str, tmp_path: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """A replay whose processes have this code run first, with ``before(text)`` called for each text."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, time\nfrom pipelines.roberta.tokenizer import Tokenizer\nencode = Tokenizer.encode\n"
        f"def before(text):\n    {patch}\n"
        "def patched(self, texts, *more):\n    [before(text) for text in texts]\n"
        "    return encode(self, texts, *more)\n"
        "Tokenizer.encode = patched\n"
    )
    return subprocess.run(
        [sys.executable, "-m", "worker", "quarantine", "replay", str(out), "--json"],
        env=os.environ | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1", **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


@pytest.mark.parametrize(
    ("patch", "settings", "reason", "said"),
    [
        ("'xyzzy 26' in text and os.kill(os.getpid(), signal.SIGSEGV)", {}, "crash", "died (SIGSEGV)"),
        ("'xyzzy 26' in text and time.sleep(1000)", {"PENSTOCK_HANG_LIMIT_S": "1.5"}, "timeout", "was killed"),
    ],
    ids=["segfault", "hang"],
)
def test_a_document_that_ends_its_process_is_set_aside_alone(
    out: Path, tmp_path: Path, patch: str, settings: dict[str, str], reason: str, said: str
) -> None:
    done = replay_of(out, patch, tmp_path, **settings)
    assert done.returncode == 0, done.stderr
    assert said in done.stderr
    value = json.loads(done.stdout)
    assert value["quarantined_by_reason"] == {"bad_json": 2, reason: 1}
    assert value["rows"] == 57
    assert call(tmp_path, "verify", str(out)).code == 0
