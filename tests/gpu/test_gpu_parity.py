"""On a CUDA device the numbers are those of the CPU, which the parity tests hold against transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import torch

from pipelines.documents import Batch, Document, Origin
from pipelines.extract import Extractor
from pipelines.roberta.attention import _by_runs, _has_varlen_kernel, first_attention, packed_attention
from pipelines.roberta.checkpoint import find
from pipelines.roberta.packing import pack
from pipelines.spec import CorpusSpec, Dtype, Pooling, RunSpec, embedding_feature, labels_feature


def extracted(model: Path, classifier: Path, texts: list[str], device: str, dtype: Dtype) -> pa.Table:
    encoder = find(str(model))
    features = [embedding_feature(encoder, pooling, name=str(pooling)) for pooling in Pooling]
    features.append(labels_feature(find(str(classifier)), None))
    spec = RunSpec(CorpusSpec(()), encoder, tuple(features), 100, dtype, 512)
    documents = [Document(str(n), text, None, Origin("memory", n, 0)) for n, text in enumerate(texts)]
    result = Extractor(spec, device=device).extract(Batch(0, 0, list(documents)))
    assert result.rejects == []
    return result.table


def vectors(table: pa.Table, column: str) -> npt.NDArray[np.float32]:
    return np.array(table[column].to_pylist(), np.float32)


def test_float32_is_that_of_the_cpu(tiny_model: Path, tiny_classifier: Path, texts: list[str]) -> None:
    here = extracted(tiny_model, tiny_classifier, texts, "cpu", Dtype.FLOAT32)
    there = extracted(tiny_model, tiny_classifier, texts, "cuda", Dtype.FLOAT32)
    for column in ("embedding_mean", "embedding_cls", "embedding_max", "scores"):
        assert np.abs(vectors(here, column) - vectors(there, column)).max() <= 1e-4


@pytest.mark.parametrize("dtype", [Dtype.BFLOAT16, Dtype.FLOAT16])
def test_half_precision_stays_close(dtype: Dtype, tiny_model: Path, tiny_classifier: Path, texts: list[str]) -> None:
    exact = extracted(tiny_model, tiny_classifier, texts, "cpu", Dtype.FLOAT32)
    half = extracted(tiny_model, tiny_classifier, texts, "cuda", dtype)
    for column in ("embedding_mean", "embedding_cls", "embedding_max"):
        a, b = vectors(exact, column), vectors(half, column)
        assert ((a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min() >= 0.999
    ranked = np.sort(vectors(exact, "scores"), axis=1)
    clear = ranked[:, -1] - ranked[:, -2] > 0.01
    same = np.array(exact["label"].to_pylist()) == np.array(half["label"].to_pylist())
    assert clear.any()
    assert same[clear].all()


@pytest.mark.parametrize("dtype", [Dtype.FLOAT32, Dtype.BFLOAT16, Dtype.FLOAT16])
def test_a_last_layer_for_first_tokens_alone_is_that_of_all(dtype: Dtype, tiny_model: Path, texts: list[str]) -> None:
    model, made = find(str(tiny_model)), []
    for poolings in ((Pooling.CLS,), (Pooling.CLS, Pooling.MEAN)):
        features = tuple(embedding_feature(model, pooling, name=str(pooling)) for pooling in poolings)
        spec = RunSpec(CorpusSpec(()), model, features, 100, dtype, 512)
        documents = [Document(str(n), text, None, Origin("memory", n, 0)) for n, text in enumerate(texts)]
        made.append(vectors(Extractor(spec, device="cuda").extract(Batch(0, 0, [*documents])).table, "embedding_cls"))
    assert np.abs(made[0] - made[1]).max() <= (1e-4 if dtype is Dtype.FLOAT32 else 5e-2)


@pytest.mark.parametrize("heads", [(12, 64), (4, 20)], ids=["kernel", "no kernel"])
def test_attention_of_first_tokens_is_that_of_all(heads: tuple[int, int]) -> None:
    _, packing = pack([np.zeros(length, np.int32) for length in (512, 70, 70, 3, 1)], torch.device("cuda"))
    torch.manual_seed(0)
    query, key, value = torch.randn(packing.rows, 3, *heads, device="cuda", dtype=torch.bfloat16).unbind(1)
    starts = packing.cu_seqlens[:-1]
    assert _has_varlen_kernel(query) == (heads[1] % 8 == 0)
    alone = first_attention(query[starts], key, value, packing)
    assert torch.allclose(alone, packed_attention(query, key, value, packing)[starts], atol=2e-2)


@pytest.mark.parametrize("lengths", [(1,), (512, 511, 3, 1), (7,) * 300, tuple(range(200, 0, -1))], ids=len)
def test_both_attentions_agree(lengths: tuple[int, ...]) -> None:
    device = torch.device("cuda")
    _, packing = pack([np.zeros(length, np.int32) for length in lengths], device)
    torch.manual_seed(0)
    qkv = torch.randn(sum(lengths), 3, 12, 64, device=device, dtype=torch.bfloat16)
    query, key, value = qkv.unbind(1)
    if not _has_varlen_kernel(query):
        pytest.skip("no flash attention on this device")
    fast, plain = packed_attention(query, key, value, packing), _by_runs(query, key, value, packing)
    assert torch.allclose(fast, plain, atol=2e-2)
