"""Equal texts of a batch are computed once where that is asked for, and every row is there all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.documents import Batch, Document, Origin, Reason
from pipelines.extract import Extractor
from pipelines.parts.footer import Outcome, PartMeta, footer_metadata
from pipelines.roberta.checkpoint import find
from pipelines.roberta.encoder import Encoder
from pipelines.spec import CorpusSpec, Dtype, Pooling, RunSpec, embedding_feature, labels_feature
from pipelines.suspicion import Suspicion


@pytest.fixture
def spec(tiny_model: Path, tiny_classifier: Path) -> RunSpec:
    model = find(str(tiny_model))
    features = (embedding_feature(model, Pooling.MEAN), labels_feature(find(str(tiny_classifier)), None))
    return RunSpec(CorpusSpec(()), model, features, 100, Dtype.FLOAT32, 512)


@pytest.fixture
def batch(texts: list[str]) -> Batch:
    """200 documents of 40 texts; some differ in the second sentence alone."""
    pairs = [None if number % 40 < 30 else texts[number % 3] for number in range(200)]
    documents = [
        Document(str(number), texts[number % 40], pairs[number], Origin("memory", number, 0)) for number in range(200)
    ]
    return Batch(0, 0, list(documents))


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The documents of each forward pass."""
    sizes: list[int] = []
    forward = Encoder.forward

    def counted(self: Encoder, rows: Any, **asked: bool) -> Any:
        sizes.append(len(rows))
        return forward(self, rows, **asked)

    monkeypatch.setattr(Encoder, "forward", counted)
    return sizes


def test_equal_texts_are_computed_once(spec: RunSpec, batch: Batch, computed: list[int]) -> None:
    each = Extractor(spec, token_budget=1000).extract(batch)
    assert (sum(computed), each.repeated) == (200, 0)  # both features are read off one encoder
    computed.clear()
    seen: list[int] = []
    once = Extractor(spec, token_budget=1000, once=True).extract(batch, lambda documents, _: seen.append(documents))
    distinct = len({(document.text, document.pair) for document in batch.documents})
    assert (sum(computed), once.repeated, sum(seen)) == (distinct, 200 - distinct, 200)

    exact = ["id", "label", "n_tokens", "n_used", "input_digest"]
    assert once.table.select(exact).equals(each.table.select(exact))
    for column in ("embedding", "scores"):
        ours, theirs = (np.array(table[column].to_pylist()) for table in (once.table, each.table))
        assert np.abs(ours - theirs).max() < 1e-5
    assert (once.tokens, once.tokens_used, once.truncated) == (each.tokens, each.tokens_used, each.truncated)


def test_what_rejects_a_text_rejects_all_documents_that_have_it(
    spec: RunSpec, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Encoder.forward

    def broken(self: Encoder, rows: Any, **asked: bool) -> Any:
        if any(len(row) == longest for row in rows):
            raise ValueError("no such length")
        return forward(self, rows, **asked)

    lengths = np.array(Extractor(spec, token_budget=1000).extract(batch).table["n_used"].to_pylist())
    longest = lengths.max()
    monkeypatch.setattr(Encoder, "forward", broken)
    found = Extractor(spec, token_budget=1000, once=True).extract(batch)
    assert [reject.id for reject in found.rejects] == [str(index) for index in np.flatnonzero(lengths == longest)]
    assert {reject.reason for reject in found.rejects} == {Reason.CRASH}
    assert found.table.num_rows + len(found.rejects) == 200


def test_suspects_have_to_clear_themselves(spec: RunSpec, batch: Batch) -> None:
    suspicion = Suspicion(groups=((3, 43),))
    assert Extractor(spec, token_budget=1000, once=True).extract(batch, suspicion=suspicion).repeated == 0


def test_a_footer_tells_how_many_were_not_computed(spec: RunSpec) -> None:
    meta = PartMeta(run="r", spec=spec, code_version="1", batch=0, first=0, count=9, input_digest="", repeated=4)
    outcome = Outcome(rows=9, rejects=0, warnings=0, committed_unix_s=1.0, rejects_by_reason={})
    assert footer_metadata(meta, outcome)[b"penstock.repeated"] == b"4"
