"""On a CUDA device nobody waits: ids go there and results come back without a synchronisation for each micro-batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipelines import chunk
from pipelines.documents import Batch, Document, Origin
from pipelines.extract import Extractor
from pipelines.roberta.checkpoint import find
from pipelines.spec import CorpusSpec, Dtype, Pooling, RunSpec, embedding_feature, labels_feature


@pytest.fixture(scope="module", autouse=True)
def _device() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")


@pytest.fixture
def extractor(tiny_model: Path, tiny_classifier: Path) -> Extractor:
    model = find(str(tiny_model))
    features = [embedding_feature(model, pooling, name=str(pooling)) for pooling in Pooling]
    features.append(labels_feature(find(str(tiny_classifier)), None))
    spec = RunSpec(CorpusSpec(()), model, tuple(features), 100, Dtype.BFLOAT16, 512)
    return Extractor(spec, device="cuda", token_budget=1000)


def batch_of(texts: list[str]) -> Batch:
    return Batch(0, 0, [Document(str(n), text, None, Origin("memory", n, 0)) for n, text in enumerate(texts)])


def test_a_micro_batch_is_handed_over_without_a_wait(extractor: Extractor, texts: list[str]) -> None:
    batch = batch_of(texts)
    expected = extractor.extract(batch)  # kernels are loaded, memory is pinned
    forward = extractor._forwards[0]
    (inputs,) = forward.reading.read([batch.documents[0]])
    torch.cuda.set_sync_debug_mode("error")
    try:
        fetch = forward.compute(inputs.rows, inputs.notes)  # raises where anything waits
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert fetch.values()[0][0].shape == (1, forward.encoder.config.hidden_size)
    assert fetch.is_ready
    assert all(torch.as_tensor(value).device.type == "cpu" for values in fetch.values() for value in values)
    assert expected.rejects == []


def test_chunks_in_flight_change_nothing(
    extractor: Extractor, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = batch_of(texts * 4)
    whole = extractor.extract(batch).table
    monkeypatch.setattr(chunk, "FIRST_DOCUMENTS", 16)
    monkeypatch.setattr(chunk, "MOST_DOCUMENTS", 64)
    cut = extractor.extract(batch).table
    assert cut["id"].equals(whole["id"])
    for column in ("embedding_mean", "embedding_cls", "embedding_max"):
        a, b = (torch.tensor(table[column].to_pylist()) for table in (whole, cut))
        assert torch.nn.functional.cosine_similarity(a, b).min() > 0.999
