"""The proof before the seal, as users see it: what is printed, what is refused, and how to go on."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from acceptance.commands import Answer, call
from acceptance.conftest import OPTIONS, Ask, Start
from chaos.disturbance import until

from worker.lifeline import is_running

TESTS = Path(__file__).resolve().parents[1]
WRONG = {"PENSTOCK_INCLUDE": "chaos.wrong_model", "PYTHONPATH": str(TESTS)}
COLUMNS = ("--embed", "mean", "--embed", "max", "--classify", "self", "--pair-column", "parity", "--prefix", "read: ")


@pytest.fixture(scope="module")
def wrong(documents: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    """A folder whose rows were computed by a wrong engine, and what the command said."""
    folder = tmp_path_factory.mktemp("wrong")
    job = ("run", documents, "--out", folder / "out", "--model", tiny_model, *OPTIONS, "--proof", 2)
    return folder / "out", call(folder, *job, **WRONG)


def test_pairs_prefixes_cut_documents_and_compressed_corpora_are_proved(
    documents: Path, tiny_classifier: Path, tmp_path: Path, ask: Ask
) -> None:
    packed = tmp_path / "documents.jsonl.gz"
    packed.write_bytes(gzip.compress(documents.read_bytes()))
    job = ("run", packed, "--out", tmp_path / "out", "--model", tiny_classifier, *OPTIONS, "--inline", "--json")
    answer = ask(*job, *COLUMNS, "--max-tokens", 24, "--proof", 5)
    assert answer.code == 0, answer.err
    proof = answer.value["proof"]
    assert (proof["documents"], proof["not_made"], proof["label_flips"]) == (5, "", 0)
    assert answer.value["truncated"] >= 3  # the longest of each part is among those that are proved
    assert 0 < proof["max_cosine_distance"] <= 1e-9
    assert 0 <= proof["max_probability_difference"] <= 1e-5
    assert json.loads((tmp_path / "out" / "_manifest.json").read_text())["proof"] == proof
    assert ask("resume", tmp_path / "out", "--json").value["proof"] == proof
    said = ask("resume", tmp_path / "out", "--proof", 3).out
    assert "\n  Proof: 5 documents once more by transformers in " in said
    assert ask("verify", tmp_path / "out").code == 0


def test_an_empty_second_sentence_is_a_sentence(tiny_classifier: Path, tmp_path: Path, ask: Ask) -> None:
    rows = [{"a": "Who came?", "b": "Mary came home"}, {"a": "Where?", "b": ""}, {"a": "", "b": ""}]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = ("run", tmp_path / "pairs.jsonl", "--out", tmp_path / "out", "--model", tiny_classifier, "--inline", "--json")
    columns = ("--text-column", "a", "--pair-column", "b", "--embed", "mean", "--classify", "self")
    answer = ask(*job, *columns, "--dtype", "float32", "--max-quarantined", 1, "--proof", 3)
    assert answer.code == 0, answer.err
    assert (answer.value["rows"], answer.value["proof"]["documents"]) == (2, 2)  # the last one has no text


def test_a_wrong_engine_does_not_seal(wrong: tuple[Path, Answer], ask: Ask) -> None:
    out, answer = wrong
    assert answer.code == 6
    (line,) = [line for line in answer.err.splitlines() if line.startswith("penstock: ")]
    assert "The rows are not what the model gives: embedding of 'doc-" in line
    assert ", float32, by cpu:0 of " in line
    assert "from plain transformers in float32, 1e-07 is allowed. Nothing is sealed: " in line
    assert f"`penstock resume {out} --proof 0` seals these rows as they are." in line
    assert "Traceback" not in answer.err
    assert not (out / "_SUCCESS").exists()
    assert not (out / "_manifest.json").exists()


def test_who_insists_gets_the_rows_sealed_and_the_manifest_says_so(wrong: tuple[Path, Answer], ask: Ask) -> None:
    out, _ = wrong
    assert ask("verify", out).code == 6
    sealed = ask("resume", out, "--inline", "--proof", 0, "--json")
    assert (sealed.code, sealed.value["state"]) == (0, "sealed"), sealed.err
    assert sealed.value["proof"] == {"not_made": "it was switched off (proof_documents is 0)"}
    assert "  Proof: not made: it was switched off" in ask("resume", out).out
    assert ask("verify", out).code == 0


def test_an_interrupt_ends_the_proof(documents: Path, tiny_model: Path, tmp_path: Path, start: Start) -> None:
    out = tmp_path / "out"
    command = start("run", documents, "--out", out, "--model", tiny_model, *OPTIONS, "--inline", "--proof", 2)
    proof = until(lambda: command._look("pipelines.proof.child"), "a proof", command)
    command.process.terminate()
    assert command.wait() == 130
    # Ended by the command; by the pipe on its stdin where the signal came while the command was starting it.
    until(lambda: not is_running(proof.pid), "the end of the proof")
    assert not (out / "_SUCCESS").exists()
