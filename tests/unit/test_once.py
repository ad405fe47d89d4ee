"""Equal texts are computed once where that is asked for, and every row is there all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.documents import Batch, Document, Origin, Reason
from pipelines.extract import Extractor
from pipelines.parts.footer import Outcome, PartMeta, footer_metadata
from pipelines.recall import Recall, facts_at
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


def test_a_text_of_an_earlier_batch_is_not_computed_again(spec: RunSpec, batch: Batch, computed: list[int]) -> None:
    extractor = Extractor(spec, token_budget=1000, once=True)
    first, second = (Batch(0, 0, batch.items[start : start + 50]) for start in (0, 20))
    before = extractor.extract(first)
    computed.clear()
    seen: list[int] = []
    after = extractor.extract(second, lambda documents, _: seen.append(documents))
    new = {(one.text, one.pair) for one in second.documents} - {(one.text, one.pair) for one in first.documents}
    assert (sum(computed), sum(seen), after.repeated) == (len(new), 50, 50 - len(new))
    assert after.table["id"].to_pylist() == [one.id for one in second.documents]

    known = {digest: row for row, digest in enumerate(before.table["input_digest"].to_pylist())}
    rows = [known.get(digest) for digest in after.table["input_digest"].to_pylist()]
    there = [number for number, row in enumerate(rows) if row is not None]
    again = after.table.take(there).drop(["id"])
    assert again.equals(before.table.take([rows[number] for number in there]).drop(["id"]))  # to the bit

    computed.clear()
    third = extractor.extract(second)  # nothing is left to compute
    assert (computed, third.repeated, third.table.num_rows) == ([], 50, 50)
    assert third.table.equals(after.table)
    assert (third.tokens, third.tokens_used) == (after.tokens, after.tokens_used)


def test_what_is_remembered_is_bounded() -> None:
    digests = [bytes([number]) * 16 for number in range(9)]
    facts = pa.table({"n_tokens": pa.array([1, 2, 3], pa.int64())})
    recall = Recall(most_bytes=2 * facts.nbytes)
    for start in (0, 3, 6):
        recall.add(
            digests[start : start + 3], pa.table({"n_tokens": pa.array([start, start + 1, start + 2], pa.int64())})
        )
    found = [recall.find(digest) for digest in digests]
    assert found[:3] == [None] * 3
    kept = [place for place in reversed(found) if place is not None]
    assert facts_at(kept)["n_tokens"].to_pylist() == [8, 7, 6, 5, 4, 3]
    recall.add([b"x"], pa.table({"n_tokens": pa.array(range(100), pa.int64())}))  # more than there is room for
    assert recall.find(b"x") is None
    assert recall.find(digests[8]) is not None


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
