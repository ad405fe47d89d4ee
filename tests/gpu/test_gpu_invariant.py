"""With ``batch_invariant`` a document's bytes depend neither on its company nor on the budget, on CUDA as well."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from gpu.conftest import DEVICE

from pipelines.documents import Batch, Document, Origin
from pipelines.extract import Extractor
from pipelines.roberta.checkpoint import find
from pipelines.spec import CorpusSpec, Dtype, Pooling, RunSpec, embedding_feature, labels_feature

BUDGETS = (150, 1000, 100_000)
SHUFFLES = 5


@pytest.mark.parametrize("dtype", [Dtype.FLOAT32, Dtype.BFLOAT16, Dtype.FLOAT16])
@pytest.mark.parametrize("poolings", [tuple(Pooling), (Pooling.CLS,)], ids=["every token", "first tokens"])
def test_same_bytes_in_any_company(
    dtype: Dtype, poolings: tuple[Pooling, ...], tiny_model: Path, tiny_classifier: Path, texts: list[str]
) -> None:
    model = find(str(tiny_model))
    features = [embedding_feature(model, pooling, name=str(pooling)) for pooling in poolings]
    features.append(labels_feature(find(str(tiny_classifier)), None))
    spec = RunSpec(CorpusSpec(()), model, tuple(features), 100, dtype, 512, batch_invariant=True)
    documents = [Document(str(n), text, None, Origin("memory", n, 0)) for n, text in enumerate(texts)]
    columns = [*(f"embedding_{pooling}" for pooling in poolings), "scores"]
    seen = []
    for budget in BUDGETS:
        extractor = Extractor(spec, device=DEVICE, token_budget=budget)
        for shuffle in range(SHUFFLES):
            order = random.Random(shuffle).sample(documents, len(documents))
            table = extractor.extract(Batch(0, 0, [*order])).table
            seen.append({row["id"]: [row[column] for column in columns] for row in table.to_pylist()})
    assert len(seen[0]) == len(texts)
    assert all(found == seen[0] for found in seen)
