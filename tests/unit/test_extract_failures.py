"""What goes wrong with a document costs that document and no other."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import load_file, save_file

from pipelines.documents import Batch, Document, Origin, Reason, Stage
from pipelines.errors import ProcessError
from pipelines.extract import Extractor
from pipelines.roberta.checkpoint import find
from pipelines.roberta.encoder import Encoder
from pipelines.roberta.failures import is_device_lost, is_out_of_memory
from pipelines.roberta.tokenizer import Tokenizer
from pipelines.spec import CorpusSpec, Dtype, Pooling, RunSpec, embedding_feature, labels_feature

Rows = Sequence[npt.NDArray[np.int32]]


@pytest.fixture(autouse=True)
def one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that passes come one after the other; several: tests/unit/test_streams.py."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)


def extractor_of(folder: Path, classifier: Path | None = None, *, dtype: Dtype = Dtype.FLOAT32) -> Extractor:
    model = find(str(folder))
    features = [embedding_feature(model, Pooling.MEAN)]
    if classifier is not None:
        features.append(labels_feature(find(str(classifier)), None))
    spec = RunSpec(CorpusSpec(()), model, tuple(features), 100, dtype, 512)
    return Extractor(spec, token_budget=2000)


def batch_of(texts: list[str]) -> Batch:
    return Batch(0, 0, [Document(str(n), text, None, Origin("memory", n, 0)) for n, text in enumerate(texts)])


@pytest.fixture
def sabotage(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Rows], Exception | None]], list[int]]:
    """Let forward passes fail where a function of their rows gives an exception; lists the sizes of all passes."""

    def install(fault: Callable[[Rows], Exception | None]) -> list[int]:
        passes: list[int] = []
        forward = Encoder.forward

        def faulty(self: Encoder, rows: Rows, **asked: bool) -> Any:
            passes.append(len(rows))
            error = fault(rows)
            if error is not None:
                raise error
            return forward(self, rows, **asked)

        monkeypatch.setattr(Encoder, "forward", faulty)
        return passes

    return install


OUT_OF_MEMORY = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    MemoryError(),
)


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: str(error)[:25])
def test_too_little_memory_halves_the_work_and_changes_nothing(
    error: Exception, tiny_model: Path, texts: list[str], sabotage: Callable[..., list[int]]
) -> None:
    expected = extractor_of(tiny_model).extract(batch_of(texts[:80]))
    passes = sabotage(lambda rows: error if sum(map(len, rows)) > 300 else None)
    result = extractor_of(tiny_model).extract(batch_of(texts[:80]))
    assert result.rejects == []
    assert result.table.drop(["embedding"]).equals(expected.table.drop(["embedding"]))
    ours, theirs = (np.array(table["embedding"].to_pylist()) for table in (result.table, expected.table))
    assert np.abs(ours - theirs).max() < 1e-5
    assert passes[1] == passes[0] // 2


def test_a_document_that_does_not_fit_alone_is_rejected(
    tiny_model: Path, texts: list[str], sabotage: Callable[..., list[int]]
) -> None:
    long = "the old mill " * 60
    sabotage(lambda rows: MemoryError() if max(map(len, rows)) == 100 else None)
    result = extractor_of(tiny_model).extract(batch_of([*texts[:5], long, *texts[5:10]]))
    (reject,) = result.rejects
    assert (reject.id, reject.stage, reject.reason) == ("5", Stage.EXTRACT, Reason.OUT_OF_MEMORY)
    assert result.table["id"].to_pylist() == ["0", "1", "2", "3", "4", "6", "7", "8", "9", "10"]


def test_a_document_that_breaks_the_pass_is_rejected_and_its_text_not_told(
    tiny_model: Path, texts: list[str], sabotage: Callable[..., list[int]]
) -> None:
    poison = Tokenizer(tiny_model, "roberta", 600).encode([texts[7]], None, 100).ids
    sabotage(lambda rows: ValueError("two\nlines") if any(np.array_equal(row, poison) for row in rows) else None)
    seen: list[int] = []
    result = extractor_of(tiny_model).extract(batch_of(texts[:40]), lambda documents, tokens: seen.append(documents))
    (reject,) = result.rejects
    assert (reject.id, reject.reason, reject.detail) == ("7", Reason.CRASH, "ValueError: two lines")
    assert result.table.num_rows == 39
    assert sum(seen) == 40


def test_a_lost_device_ends_the_process(tiny_model: Path, texts: list[str], sabotage: Callable[..., list[int]]) -> None:
    sabotage(lambda rows: torch.AcceleratorError("CUDA error: an illegal memory access was encountered"))
    with pytest.raises(ProcessError, match="illegal memory access"):
        extractor_of(tiny_model).extract(batch_of(texts[:5]))


@pytest.mark.parametrize(
    ("error", "memory", "lost"),
    [
        (RuntimeError("CUDA error: device-side assert triggered"), False, True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling cublasGemmEx"), False, True),
        (torch.AcceleratorError("CUDA error: out of memory"), True, False),
        (RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"), False, False),
        (ValueError("out of memory"), False, False),
    ],
    ids=lambda value: str(value)[:40],
)
def test_exceptions_of_torch_are_told_apart(error: Exception, memory: bool, lost: bool) -> None:
    assert (is_out_of_memory(error), is_device_lost(error)) == (memory, lost)


@pytest.mark.parametrize(("dtype", "tolerance"), [(Dtype.FLOAT32, 1e-5), (Dtype.INT8, 0.2)])
def test_numbers_that_are_not_finite_reject_their_documents(
    dtype: Dtype, tolerance: float, tiny_model: Path, tiny_classifier: Path, texts: list[str], tmp_path: Path
) -> None:
    tokenizer = Tokenizer(tiny_model, "roberta", 600)
    (poison,) = set(tokenizer.encode(["Z"], None, 10).ids.tolist()) - {0, 2}
    broken = []
    for number, folder in enumerate((tiny_model, tiny_classifier)):
        copy = Path(shutil.copytree(folder, tmp_path / str(number)))
        tensors = load_file(copy / "model.safetensors")
        (name,) = (name for name in tensors if name.endswith("word_embeddings.weight"))
        tensors[name][poison, 3] = float("nan")
        save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
        broken.append(copy)
    subjects = ["Z", *texts[:30], "a Z b", *texts[30:60]]
    result = extractor_of(*broken, dtype=dtype).extract(batch_of(subjects))
    whole = extractor_of(tiny_model, tiny_classifier, dtype=dtype).extract(batch_of(subjects)).table

    assert [(reject.id, reject.reason) for reject in result.rejects] == [
        ("0", Reason.NOT_FINITE),
        ("31", Reason.NOT_FINITE),
    ]
    kept = whole.filter([number not in (0, 31) for number in range(62)])
    assert dtype is Dtype.INT8 or result.table["label"].equals(kept["label"])  # its scales are those of the company
    ours, theirs = (np.array(table["embedding"].to_pylist()) for table in (result.table, kept))
    assert np.abs(ours - theirs).max() < tolerance
