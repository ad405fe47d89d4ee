"""Memory of a CUDA device that is too small for a micro-batch."""

from __future__ import annotations

from pathlib import Path

import torch
from gpu.conftest import DEVICE

from pipelines.documents import Batch, Document, Origin
from pipelines.extract import Extractor
from pipelines.roberta.checkpoint import find
from pipelines.spec import CorpusSpec, Dtype, Pooling, RunSpec, embedding_feature

ROOM = 64 * 2**20
BUDGET = 10**6


def test_a_budget_that_is_too_large_is_lowered_and_no_document_is_lost(tiny_model: Path, texts: list[str]) -> None:
    model, known = find(str(tiny_model)), dict[str, int]()
    spec = RunSpec(CorpusSpec(()), model, (embedding_feature(model, Pooling.MEAN),), 100, Dtype.BFLOAT16, 512)
    extractor = Extractor(spec, device=DEVICE, token_budget=BUDGET, budgets=known)
    documents = [Document(str(n), texts[n % len(texts)], None, Origin("memory", n, 0)) for n in range(20_000)]
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(DEVICE).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(DEVICE) + ROOM) / total)
    try:
        found = extractor.extract(Batch(0, 0, [*documents]))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert found.rejects == []
    assert found.table.num_rows == len(documents)
    assert extractor._budgets[0].tokens < BUDGET
    assert list(known.values()) == [extractor._budgets[0].tokens]
