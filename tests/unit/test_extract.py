"""A batch becomes rows and rejects: every document is in one of them, in corpus order."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from pipelines.documents import Batch, Document, Origin, Reason, Reject, Stage, input_digest
from pipelines.errors import RunError, SurroundingsError
from pipelines.extract import Extractor, row_schema
from pipelines.roberta.checkpoint import find
from pipelines.roberta.encoder import Encoder
from pipelines.spec import (
    CorpusSpec,
    Dtype,
    FeatureSpec,
    KeptColumn,
    ModelRef,
    Pooling,
    RunSpec,
    arrow_type_name,
    embedding_feature,
    labels_feature,
)


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> ModelRef:
    return find(str(tiny_model))


@pytest.fixture(scope="module")
def judge(tiny_classifier: Path) -> ModelRef:
    return find(str(tiny_classifier))


def spec_of(model: ModelRef, *features: FeatureSpec, keep: tuple[KeptColumn, ...] = (), prefix: str = "") -> RunSpec:
    wanted = features or (embedding_feature(model, Pooling.MEAN),)
    return RunSpec(CorpusSpec((), keep=keep), model, wanted, 40, Dtype.FLOAT32, 512, prefix)


def document(number: int, text: str, *kept: object, pair: str | None = None) -> Document:
    return Document(f"doc-{number}", text, pair, Origin("memory", number, number + 1), kept)


def batch_of(texts: list[str]) -> Batch:
    return Batch(0, 0, [document(number, text) for number, text in enumerate(texts)])


def vectors(table: pa.Table, column: str = "embedding") -> np.ndarray:
    return np.array(table[column].to_pylist(), np.float32)


def test_rows_and_counts(model: ModelRef, judge: ModelRef, texts: list[str]) -> None:
    spec = spec_of(model, embedding_feature(model, Pooling.MEAN), labels_feature(judge, "mood"))
    extractor = Extractor(spec)
    result = extractor.extract(batch_of(texts))
    table = result.table

    assert table.schema == extractor.schema == row_schema(spec)
    assert tuple(table.column_names) == spec.column_names
    assert table["id"].to_pylist() == [f"doc-{number}" for number in range(300)]
    assert table["input_digest"].to_pylist() == [input_digest(text) for text in texts]
    assert set(table["mood_label"].to_pylist()) == set(judge.labels)
    assert result.tokens == sum(table["n_tokens"].to_pylist())
    assert result.tokens_used == sum(table["n_used"].to_pylist())
    assert result.truncated == sum(length > 40 for length in table["n_tokens"].to_pylist()) > 0
    assert max(table["n_used"].to_pylist()) == 40
    table.validate(full=True)


def test_micro_batches_do_not_show(model: ModelRef, texts: list[str]) -> None:
    small = Extractor(spec_of(model), token_budget=100).extract(batch_of(texts)).table
    large = Extractor(spec_of(model), token_budget=100_000).extract(batch_of(texts)).table
    assert np.abs(vectors(small) - vectors(large)).max() < 1e-5
    assert small.drop(["embedding"]).equals(large.drop(["embedding"]))


def test_rejects_of_reading_and_of_extraction_keep_corpus_order(model: ModelRef, texts: list[str]) -> None:
    unread = [
        Reject(f"line-{number}", Origin("memory", number, 0), Stage.READ, Reason.BAD_JSON, "no JSON")
        for number in (1, 2)
    ]
    note = Reject("doc-0", Origin("memory", 0, 0), Stage.WARNING, Reason.KEPT_VALUE, "a note")
    items = [unread[0], document(0, texts[0]), document(1, "lone \ud800"), unread[1], document(2, texts[1])]
    result = Extractor(spec_of(model)).extract(Batch(0, 0, items, [note]))

    assert result.table["id"].to_pylist() == ["doc-0", "doc-2"]
    assert [reject.id for reject in result.rejects] == ["line-1", "doc-1", "line-2"]
    assert result.rejects[1].reason is Reason.CRASH
    assert result.rejects[1].stage is Stage.EXTRACT
    assert result.rejects[1].origin == Origin("memory", 1, 2)
    assert result.warnings == [note]


@pytest.mark.parametrize("items", [[], [document(0, "\udfff")]], ids=["nothing", "nothing usable"])
def test_a_batch_without_rows_has_the_same_columns(model: ModelRef, judge: ModelRef, items: list[Document]) -> None:
    spec = spec_of(model, labels_feature(judge, None), keep=(KeptColumn("n", "int64", "n"),))
    result = Extractor(spec).extract(Batch(0, 0, list(items)))
    assert result.table.schema == row_schema(spec)
    assert (result.table.num_rows, len(result.rejects), result.tokens) == (0, len(items), 0)


def test_a_prefix_is_tokenised_but_not_digested(model: ModelRef, texts: list[str]) -> None:
    with_prefix = Extractor(spec_of(model, prefix="query: ")).extract(batch_of(texts[:5])).table
    by_hand = Extractor(spec_of(model)).extract(batch_of([f"query: {text}" for text in texts[:5]])).table
    assert np.array_equal(vectors(with_prefix), vectors(by_hand))
    assert with_prefix["input_digest"].to_pylist() == [input_digest(text) for text in texts[:5]]


def test_kept_columns_keep_their_types_and_a_misfit_becomes_null(model: ModelRef) -> None:
    keep = (KeptColumn("n", "int64", "number"), KeptColumn("d", "arrow:" + _date_type(), "day"))
    items: list[Document | Reject] = [
        document(0, "a", 1, None),
        document(1, "b", "seven", None),
        document(2, "c", 3, None),
    ]
    result = Extractor(spec_of(model, keep=keep)).extract(Batch(0, 0, items))
    assert result.table["number"].to_pylist() == [1, None, 3]
    assert result.table.schema.field("day").type == pa.timestamp("us", "UTC")
    (note,) = result.warnings
    assert (note.id, note.stage, note.reason) == ("doc-1", Stage.WARNING, Reason.KEPT_VALUE)


def _date_type() -> str:
    return arrow_type_name(pa.timestamp("us", "UTC")).removeprefix("arrow:")


def test_int8_is_refused_where_it_cannot_be_computed(model: ModelRef, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    with pytest.raises(SurroundingsError, match="int8 is computed on CPUs only"):
        Extractor(dataclasses.replace(spec_of(model), dtype=Dtype.INT8))


def test_features_of_one_encoder_share_one_forward_pass(
    model: ModelRef, judge: ModelRef, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []
    forward = Encoder.forward
    monkeypatch.setattr(
        Encoder, "forward", lambda self, rows, **asked: passes.append(len(rows)) or forward(self, rows, **asked)
    )
    poolings = [embedding_feature(model, pooling, name=str(pooling)) for pooling in Pooling]
    together = Extractor(spec_of(model, *poolings, labels_feature(judge, None)), token_budget=10**6)
    together.extract(batch_of(texts))
    assert sum(passes) == 300
    alone = Extractor(spec_of(model), token_budget=10**6)
    assert alone.nbytes < together.nbytes < 1.2 * alone.nbytes


def test_models_with_other_tokenizers_and_limits_each_see_their_own_tokens(
    model: ModelRef, make_model: Callable[..., Path], texts: list[str], tmp_path: Path
) -> None:
    other = make_model(
        texts[:50], tmp_path / "other", vocab_size=400, max_positions=20, labels=("x", "y"), model_type="xlm-roberta"
    )
    stranger = find(str(other))
    mixed = spec_of(model, embedding_feature(model, Pooling.MEAN), labels_feature(stranger, None))
    table = Extractor(mixed).extract(batch_of(texts[:40])).table
    lengths = Extractor(spec_of(model)).extract(batch_of(texts[:40])).table["n_tokens"]
    own = dataclasses.replace(spec_of(stranger, labels_feature(stranger, None)), max_tokens=18)
    expected = Extractor(own).extract(batch_of(texts[:40])).table
    assert np.abs(vectors(table, "scores") - vectors(expected, "scores")).max() < 1e-5
    assert table["n_tokens"].equals(lengths)


def test_progress_counts_every_document_once_and_may_end_the_batch(
    model: ModelRef, make_model: Callable[..., Path], texts: list[str], tmp_path: Path
) -> None:
    stranger = find(str(make_model(texts[:50], tmp_path / "other", vocab_size=400, labels=("x", "y"), seed=5)))
    spec = spec_of(model, embedding_feature(model, Pooling.MEAN), labels_feature(stranger, None))
    calls: list[tuple[int, int]] = []
    extractor = Extractor(spec, token_budget=500)
    extractor.extract(batch_of(texts), lambda documents, tokens: calls.append((documents, tokens)))
    assert sum(documents for documents, _ in calls) == 300
    assert len(calls) > 20

    def stop(documents: int, tokens: int) -> None:
        raise InterruptedError("the lease is gone")

    with pytest.raises(InterruptedError):
        extractor.extract(batch_of(texts), stop)


def test_a_model_that_changed_since_the_run_was_opened_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    spec = spec_of(find(str(folder)))
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(RunError, match="are not those that the run was opened with"):
        Extractor(spec)


def test_an_unresolved_dtype_is_a_bug(model: ModelRef) -> None:
    with pytest.raises(ValueError, match="this is a bug"):
        Extractor(dataclasses.replace(spec_of(model), dtype=Dtype.AUTO))
