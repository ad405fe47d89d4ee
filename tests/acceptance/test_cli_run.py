"""`penstock run`: what it writes and prints, and that the folder decides what a second start does."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
from acceptance.commands import SUMMARY_KEYS, WORKER_KEYS, call, write_jsonl
from acceptance.conftest import OPTIONS, Ask, Sealed
from chaos.disturbance import rows

from pipelines.parts.footer import read_footer
from pipelines.parts.store import Store


def test_json_is_one_object_with_every_number_of_the_contract(sealed: Sealed) -> None:
    value = sealed.answer.value
    assert value.keys() >= SUMMARY_KEYS
    assert (value["state"], value["documents"], value["rows"], value["parts"]) == ("sealed", 60, 60, 3)
    assert value["documents"] == value["rows"] + value["quarantined"] + value["dead_letter_documents"]
    assert value["out"] == str(sealed.out)
    (worker,) = value["workers"]
    assert worker.keys() == WORKER_KEYS
    assert (worker["slot"], worker["device"], worker["documents"]) == ("cpu:0", "cpu", 60)
    table = rows(sealed.out)
    assert value["tokens"] == sum(table["n_tokens"].to_pylist()) == worker["tokens"]
    assert value["bytes"] == sum(path.stat().st_size for path in (sealed.out / "data").iterdir())
    assert 0 < value["seconds"] <= value["seconds_total"]
    assert value["redis_peak_bytes"] > 100_000
    assert worker["peak_rss_bytes"] > 50 * 2**20


def test_the_folder_holds_what_the_contract_says(sealed: Sealed) -> None:
    names = {path.name for path in sealed.out.iterdir()}
    assert {"data", "README.md", "_run.json", "_plan", "_manifest.json", "_SUCCESS"} <= names
    assert "_live.json" not in names
    assert [path.name for path in sorted((sealed.out / "data").iterdir())] == [
        f"part-{number:08d}.parquet" for number in range(3)
    ]
    assert ds.dataset(sealed.out / "data").to_table()["id"].to_pylist() == [f"doc-{number}" for number in range(60)]
    document = json.loads((sealed.out / "_run.json").read_text())
    assert document["spec"]["corpus"]["shards"][0]["uri"] == str(sealed.corpus)
    assert document["spec"]["model"]["path"] == str(sealed.model)


def test_without_a_terminal_nothing_but_log_lines_goes_to_stderr(sealed: Sealed) -> None:
    assert "\x1b" not in sealed.answer.err
    assert "Traceback" not in sealed.answer.err


def test_a_sealed_run_is_printed_again(sealed: Sealed, ask: Ask) -> None:
    before = {path: path.stat().st_mtime_ns for path in sealed.out.rglob("*") if path.is_file()}
    again = ask(*sealed.arguments, "--json")
    assert again.code == 0
    first = sealed.answer.value
    assert {key: again.value[key] for key in SUMMARY_KEYS - {"seconds_total"}} == {
        key: first[key] for key in SUMMARY_KEYS - {"seconds_total"}
    }
    text = ask(*sealed.arguments)
    assert text.code == 0
    assert text.out.startswith("Sealed: 60 rows of 60 documents in 3 parts")
    assert text.out.rstrip().endswith(f"Dataset: {sealed.out}/data")
    assert ask("resume", sealed.out, "--json").value == again.value
    assert {path: path.stat().st_mtime_ns for path in sealed.out.rglob("*") if path.is_file()} == before


def test_another_spec_is_refused_and_says_what_differs(sealed: Sealed, tiny_classifier: Path, ask: Ask) -> None:
    for extra, said in (
        (("--embed", "cls"), "mean embedding, asked for was cls embedding"),
        (("--prefix", "q: "), "prefix"),
        (("--batch-docs", 21), "batch_documents is 20, asked for was 21"),
        (("--dtype", "bfloat16"), "'float32', asked for was 'bfloat16'"),
        (("--max-tokens", 9), "max_tokens"),
        (("--limit", 5), "limit is not set, asked for was 5"),
        (("--keep", "number"), "keep"),
        (("--classify", tiny_classifier, "--embed", "mean"), "label by"),
        (("--model", tiny_classifier), f"its model is {sealed.model}, asked for was {tiny_classifier}"),
    ):
        answer = ask(*sealed.arguments, *extra)
        assert answer.code == 4, extra
        assert answer.refusal.startswith(f"{sealed.out} belongs to another run: ")
        assert said in answer.refusal
        assert "Choose another --out" in answer.refusal
    error = ask(*sealed.arguments, "--limit", 5, "--json")
    assert error.code == 4
    assert error.value["error"]["code"] == "foreign_folder"


def test_another_corpus_is_refused(sealed: Sealed, tmp_path: Path, ask: Ask) -> None:
    other = write_jsonl(tmp_path / "other.jsonl", [{"text": "one"}])
    answer = ask("run", other, "--out", sealed.out, "--model", sealed.model, *OPTIONS)
    assert answer.code == 4
    assert "documents.jsonl, asked for was other.jsonl" in answer.refusal


def test_a_folder_that_is_not_ours_is_refused_and_untouched(sealed: Sealed, tmp_path: Path, ask: Ask) -> None:
    foreign = tmp_path / "foreign"
    (foreign / "sub").mkdir(parents=True)
    (foreign / "thesis.txt").write_text("mine")
    for out in (foreign, foreign / "thesis.txt"):
        for corpus, stdin in ((sealed.corpus, b""), ("-", sealed.corpus.read_bytes())):
            answer = ask(
                "run", corpus, "--format", "jsonl", "--out", out, "--model", sealed.model, *OPTIONS, stdin=stdin
            )
            assert answer.code == 4
            assert str(out) in answer.refusal
    assert sorted(path.name for path in foreign.rglob("*")) == ["sub", "thesis.txt"]
    below = ask("run", sealed.corpus, "--out", foreign / "thesis.txt" / "out", "--model", sealed.model, *OPTIONS)
    assert below.code == 3
    assert "is a file" in below.refusal


def test_a_changed_corpus_is_refused_by_name(sealed: Sealed, tmp_path: Path, ask: Ask) -> None:
    corpus = tmp_path / "documents.jsonl"
    shutil.copy2(sealed.corpus, corpus)
    arguments = ("run", corpus, "--out", tmp_path / "out", "--model", sealed.model, *OPTIONS, "--inline")
    assert ask(*arguments).code == 0
    (tmp_path / "out" / "_SUCCESS").unlink()
    times = (corpus.stat().st_atime_ns, corpus.stat().st_mtime_ns)
    for change in (
        lambda: corpus.write_text(corpus.read_text() + '{"text": "one more"}\n'),
        lambda: os.utime(corpus, ns=(times[0], times[1] + 10**9)),
        lambda: corpus.unlink(),
    ):
        change()
        answer = ask("resume", tmp_path / "out")
        assert answer.code == 3
        assert str(corpus) in answer.refusal
        shutil.copy2(sealed.corpus, corpus)
    corpus.write_text(corpus.read_text() + '{"text": "one more"}\n')
    answer = ask(*arguments, "--json")
    assert answer.code == 3
    assert answer.value["error"]["code"] == "corpus_changed"


def test_what_was_read_is_checked_by_its_digest(sealed: Sealed, tmp_path: Path, ask: Ask) -> None:
    """A corpus of the same size and date, but with another text where a batch has to be read again."""
    corpus = tmp_path / "documents.jsonl"
    shutil.copy2(sealed.corpus, corpus)
    out = tmp_path / "out"
    assert ask("run", corpus, "--out", out, "--model", sealed.model, *OPTIONS, "--inline").code == 0
    (out / "_SUCCESS").unlink()
    (out / "data" / "part-00000001.parquet").unlink()
    times = (corpus.stat().st_atime_ns, corpus.stat().st_mtime_ns)
    corpus.write_text(corpus.read_text().replace("25: ", "52: "))
    os.utime(corpus, ns=times)
    answer = ask("resume", out, "--inline")
    assert answer.code == 3
    assert str(corpus) in answer.refusal


def test_inline_is_the_same_dataset(sealed: Sealed, tmp_path: Path, ask: Ask) -> None:
    out = tmp_path / "out"
    answer = ask("run", sealed.corpus, "--out", out, "--model", sealed.model, *OPTIONS, "--inline", "--json")
    assert answer.code == 0
    assert answer.value.keys() >= SUMMARY_KEYS
    ours, theirs = rows(sealed.out), rows(out)
    assert ours.schema == theirs.schema
    for column in ("id", "input_digest", "n_tokens", "n_used"):
        assert ours[column].equals(theirs[column])
    vectors = [np.stack(table["embedding"].to_numpy()) for table in (ours, theirs)]
    np.testing.assert_allclose(*vectors, atol=1e-5)
    prints = [json.loads((folder / "_run.json").read_text())["fingerprint"] for folder in (sealed.out, out)]
    assert prints[0] == prints[1]


def test_dry_run_says_what_would_be_and_writes_nothing(sealed: Sealed, tmp_path: Path, ask: Ask) -> None:
    out = tmp_path / "new" / "out"
    arguments = ("run", "-", "--format", "jsonl", "--out", out, "--model", sealed.model, *OPTIONS, "--dry-run")
    answer = ask(*arguments, "--json", stdin=sealed.corpus.read_bytes())
    assert answer.code == 0
    value = answer.value
    assert value["columns"] == ["id", "embedding", "n_tokens", "n_used", "input_digest"]
    assert [document["id"] for document in value["sample"]] == ["doc-0", "doc-1", "doc-2"]
    assert (value["dtype"], value["batch_docs"], value["max_tokens"]) == ("float32", 20, 128)
    text = ask(*arguments, stdin=sealed.corpus.read_bytes())
    assert text.code == 0
    assert text.out.rstrip().endswith("Nothing was written.")
    assert not (tmp_path / "new").exists()


def test_dry_run_refuses_what_the_run_would_refuse(sealed: Sealed, tmp_path: Path, ask: Ask) -> None:
    assert ask(*sealed.arguments, "--embed", "max", "--dry-run").code == 4
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "file").touch()
    foreign = ("--out", tmp_path / "foreign", "--dry-run")
    assert ask("run", sealed.corpus, "--model", sealed.model, *OPTIONS, *foreign).code == 4
    assert ask(*sealed.arguments, "--dry-run").code == 0


def test_two_processes_share_the_cores(many: Path, tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--limit", 200, "--batch-docs", 1, "--dtype", "float32", "--devices", "cpu:2", "--json")
    answer = call(tmp_path, "run", many, "--out", out, "--model", tiny_model, *options)
    assert answer.code == 0, answer.err
    workers = answer.value["workers"]
    assert [worker["slot"] for worker in workers] == ["cpu:0", "cpu:1"]
    assert sum(worker["documents"] for worker in workers) == 200
    store = Store(out)
    assert {read_footer(store, batch).slot for batch in range(200)} == {"cpu:0", "cpu:1"}
    assert rows(out)["id"].to_pylist() == [str(number) for number in range(200)]
