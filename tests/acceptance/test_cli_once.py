"""`--once`: equal texts are computed once, and the summary says how many were not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from acceptance.commands import write_jsonl
from acceptance.conftest import Ask
from chaos.disturbance import rows


def test_equal_texts_are_computed_once_where_it_is_asked_for(tmp_path: Path, tiny_model: Path, ask: Ask) -> None:
    texts = [f"the river turns {number % 7} wheels" for number in range(40)]
    corpus = write_jsonl(tmp_path / "corpus.jsonl", [{"id": str(n), "text": text} for n, text in enumerate(texts)])
    options = ["--model", str(tiny_model), "--dtype", "float32", "--batch-docs", "20", "--proof", "0", "--json"]
    each = ask("run", str(corpus), "--out", str(tmp_path / "each"), *options, "--inline").value
    inline = ask("run", str(corpus), "--out", str(tmp_path / "inline"), *options, "--inline", "--once").value
    worker = ask("run", str(corpus), "--out", str(tmp_path / "worker"), *options, "--once").value
    assert (each["repeated"], inline["repeated"]) == (0, 33)
    assert 26 <= worker["repeated"] <= 33  # the first batch may not be written when the second one begins
    assert {value["rows"] for value in (each, inline, worker)} == {40}
    found = [np.array(rows(tmp_path / name)["embedding"].to_pylist()) for name in ("each", "inline", "worker")]
    assert np.abs(found[0] - found[1]).max() < 1e-5
    assert np.abs(found[0] - found[2]).max() < 1e-5
    again = ask("run", str(corpus), "--out", str(tmp_path / "worker"), *options).value
    assert again["repeated"] == worker["repeated"]  # the folder says what was done, whatever is asked now
