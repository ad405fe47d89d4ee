"""Published texts go through as they are, sealed and verified: MultiNLI, long PEPs, Markdown in forty languages,
the Winograd schemas of SuperGLUE."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from acceptance.commands import write_jsonl
from acceptance.conftest import Ask
from chaos.disturbance import rows
from conftest import example
from parity.lm_models import add_lm_head

OPTIONS = ("--inline", "--dtype", "float32", "--proof", "4", "--json")


def test_pairs_of_multinli(tiny_classifier: Path, test_data: Path, tmp_path: Path, ask: Ask) -> None:
    source, out = test_data / "nli_mnli_dev" / "mnli_dev_matched.jsonl", tmp_path / "mnli"
    asked = ("--text-column", "premise", "--pair-column", "hypothesis", "--classify", "self", "--keep", "label=gold")
    answer = ask("run", source, "--out", out, "--model", tiny_classifier, *asked, *OPTIONS)
    assert (answer.code, answer.value["rows"], answer.value["quarantined"]) == (0, 9815, 0), answer.err
    assert ask("verify", out).code == 0
    table = rows(out)
    assert set(table["gold"].to_pylist()) == {"contradiction", "neutral", "entailment"}
    assert len(set(table["label"].to_pylist())) > 1
    assert np.allclose(np.array(table["scores"].to_pylist()).sum(axis=1), 1, atol=1e-5)
    assert answer.value["proof"]["values"] > 0


def test_long_documents_in_windows(tiny_model: Path, test_data: Path, tmp_path: Path, ask: Ask) -> None:
    source, out = test_data / "peps" / "peps.jsonl.gz", tmp_path / "peps"
    asked = ("--limit", "60", "--long", "window", "--stride", "16", "--embed", "mean@-2", "--vectors", "int8")
    answer = ask("run", source, "--out", out, "--model", tiny_model, *asked, *OPTIONS)
    assert (answer.code, answer.value["rows"]) == (0, 60), answer.err
    assert ask("verify", out).code == 0
    table = rows(out)
    assert max(table["n_windows"].to_pylist()) > 50
    assert table["n_used"].to_pylist() == table["n_tokens"].to_pylist()
    assert (answer.value["long"], answer.value["tokens_lost"]) == ("window", 0)
    assert "  Long documents were read in windows, column n_windows says in how many" in ask("resume", out).out


def test_words_in_forty_languages(tiny_model: Path, test_data: Path, tmp_path: Path, ask: Ask) -> None:
    source, out = test_data / "multilingual_markdown" / "docs.jsonl.gz", tmp_path / "markdown"
    asked = ("--limit", "80", "--words", "split", "--embed", "mean")
    answer = ask("run", source, "--out", out, "--model", tiny_model, *asked, *OPTIONS)
    assert (answer.code, answer.value["rows"]) == (0, 80), answer.err
    assert ask("verify", out).code == 0
    table = rows(out)
    with gzip.open(source, "rt", encoding="utf-8") as file:
        texts = {document["id"]: document["text"] for document in map(json.loads, file)}
    for row in table.select(["id", "words", "word_begins", "word_ends"]).to_pylist():
        places = [*zip(row["words"], row["word_begins"], row["word_ends"], strict=True)][1:-1]
        assert all(texts[row["id"]][begin:end] == word for word, begin, end in places)


@pytest.mark.parametrize(
    ("part", "count", "no_candidate", "not_marked"), [("train", 554, 1, 0), ("val", 104, 4, 1), ("test", 146, 0, 3)]
)
def test_winograd_schemas_of_superglue(
    part: str,
    count: int,
    no_candidate: int,
    not_marked: int,
    tiny_model: Path,
    test_data: Path,
    tmp_path: Path,
    ask: Ask,
) -> None:
    published = (test_data / "wsc" / f"superglue_wsc_{part}.jsonl").read_text(encoding="utf-8")
    source = write_jsonl(tmp_path / "wsc.jsonl", list(example("make_wsc").superglue(published)))
    model, out = add_lm_head(tiny_model, tmp_path / "lm"), tmp_path / "out"
    asked = ("--disambiguate", "--candidates-column", "candidates", "--keep", "answer", "--max-quarantined", "5%")
    answer = ask("run", source, "--out", out, "--model", model, *asked, *OPTIONS)
    set_aside = no_candidate + not_marked
    assert answer.code == 0, answer.err
    assert (answer.value["rows"], answer.value["quarantined"]) == (count - set_aside, set_aside)
    assert answer.value["proof"]["values"] > 0
    assert ask("verify", out).code == 0
    table = rows(out)
    assert set(table["pronoun_correct"].to_pylist()) == {True, False}
    assert set(table["pronoun_answer"].to_pylist()) == {None}
    assert all(len(candidates) > 1 for candidates in table["pronoun_candidates"].to_pylist())
    assert table["answer"].null_count == (len(table) if part == "test" else 0)
    rejects = pq.read_table(out / "_quarantine").to_pylist()
    assert {reject["reason"] for reject in rejects} == {"unfit"}
    details = [reject["detail"] for reject in rejects]
    assert sum(detail.startswith("There is no candidate for the pronoun beside") for detail in details) == no_candidate
    assert sum(detail.startswith("The sentence has 0 [pronouns]") for detail in details) == not_marked
