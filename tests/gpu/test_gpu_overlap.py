"""On a CUDA device several micro-batches are under way, and rows are the same however many."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipelines import chunk
from pipelines.documents import Batch, Document, Origin
from pipelines.extract import Extractor
from pipelines.roberta.checkpoint import find
from pipelines.spec import CorpusSpec, Dtype, Pooling, RunSpec, embedding_feature, labels_feature


@pytest.fixture
def extractor(tiny_model: Path, tiny_classifier: Path) -> Extractor:
    model = find(str(tiny_model))
    features = [embedding_feature(model, pooling, name=str(pooling)) for pooling in Pooling]
    features.append(labels_feature(find(str(tiny_classifier)), None))
    spec = RunSpec(CorpusSpec(()), model, tuple(features), 100, Dtype.BFLOAT16, 512)
    return Extractor(spec, device="cuda", token_budget=1000)


def batch_of(texts: list[str]) -> Batch:
    return Batch(0, 0, [Document(str(n), text, None, Origin("memory", n, 0)) for n, text in enumerate(texts)])


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
