"""Micro-batches side by side on a CPU: the rows are the same, and what fails costs what it costs otherwise."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.device_queue import DeviceQueue, Launched
from pipelines.documents import Batch, Document, Origin, Reason
from pipelines.extract import Extractor
from pipelines.features.fetch import Fetch
from pipelines.features.shared import SharedForward
from pipelines.readings.inputs import Ids
from pipelines.roberta.checkpoint import find
from pipelines.spec import CorpusSpec, Dtype, Pooling, RunSpec, embedding_feature, labels_feature
from pipelines.streams import MOST_WAITING

STREAMS = 3


@pytest.fixture
def spec(tiny_model: Path, tiny_classifier: Path) -> RunSpec:
    model = find(str(tiny_model))
    features = (embedding_feature(model, Pooling.MEAN), labels_feature(find(str(tiny_classifier)), None))
    return RunSpec(CorpusSpec(()), model, features, 100, Dtype.FLOAT32, 512, batch_invariant=True)


@pytest.fixture
def batch(texts: list[str]) -> Batch:
    return Batch(0, 0, [Document(str(n), text, None, Origin("memory", n, 0)) for n, text in enumerate(texts)])


def extractor_of(spec: RunSpec, monkeypatch: pytest.MonkeyPatch, streams: int = STREAMS) -> Extractor:
    with monkeypatch.context() as threads:
        threads.setattr(torch, "get_num_threads", lambda: streams)
        return Extractor(spec, token_budget=300)


class Watched:
    """Forward passes, and how many there were at a time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads: set[str] = set()
        self.torch_threads: set[int] = set()
        self.now = self.most = 0
        self._lock, self._compute = threading.Lock(), SharedForward.compute
        monkeypatch.setattr(SharedForward, "compute", lambda *given: self.compute(*given))

    def compute(self, forward: SharedForward, rows: Sequence[Ids], notes: Sequence[Any]) -> Fetch:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
            self.threads.add(threading.current_thread().name)
            self.torch_threads.add(torch.get_num_threads())
        try:
            time.sleep(0.01)
            return self._compute(forward, rows, notes)
        finally:
            with self._lock:
                self.now -= 1


def test_streams_change_nothing_and_have_a_core_each(
    spec: RunSpec, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = extractor_of(spec, monkeypatch, streams=1).extract(batch).table
    threads = torch.get_num_threads()
    watched = Watched(monkeypatch)
    side_by_side = extractor_of(spec, monkeypatch).extract(batch).table
    assert side_by_side.combine_chunks().equals(alone.combine_chunks())
    assert watched.most == len(watched.threads) == STREAMS
    assert watched.torch_threads == {1}
    assert torch.get_num_threads() == threads, "the caller's own threads are its own"


def test_a_document_that_fails_in_a_stream_costs_itself_alone(
    spec: RunSpec, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor, compute = extractor_of(spec, monkeypatch), SharedForward.compute
    (bad,) = extractor._forwards[0].reading.read([batch.documents[7]])

    def failing(forward: SharedForward, rows: Sequence[Ids], notes: Sequence[Any]) -> Fetch:
        if any(np.array_equal(row, bad.rows[0]) for row in rows):
            raise ValueError("a number that no kernel takes")
        return compute(forward, rows, notes)

    monkeypatch.setattr(SharedForward, "compute", failing)
    done: list[int] = []
    found = extractor.extract(batch, lambda documents, _: done.append(documents))
    assert [(reject.id, reject.reason) for reject in found.rejects] == [("7", Reason.CRASH)]
    assert found.table.num_rows == len(batch.items) - 1
    assert sum(done) == len(batch.items)


def test_memory_that_is_too_small_in_a_stream_lowers_the_budget(
    spec: RunSpec, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor, compute = extractor_of(spec, monkeypatch), SharedForward.compute
    sizes: list[int] = []

    def small(forward: SharedForward, rows: Sequence[Ids], notes: Sequence[Any]) -> Fetch:
        tokens = sum(map(len, rows))
        sizes.append(tokens)
        if tokens > 270:
            raise torch.OutOfMemoryError("no room")
        return compute(forward, rows, notes)

    monkeypatch.setattr(SharedForward, "compute", small)
    found = extractor.extract(batch)
    assert (found.table.num_rows, found.rejects) == (len(batch.items), [])
    assert max(sizes) > 270
    assert extractor._budgets[0].tokens < 300
    sizes.clear()
    extractor.extract(batch)
    assert max(sizes) <= 270, "it was not remembered"


def test_a_batch_that_is_given_up_leaves_nothing_running(
    spec: RunSpec, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor, watched = extractor_of(spec, monkeypatch), Watched(monkeypatch)

    def stop(_: int, tokens: int) -> None:
        if tokens:
            assert watched.now
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extractor.extract(batch, stop)
    assert watched.now == 0
    time.sleep(0.05)
    assert watched.now == 0
    monkeypatch.undo()
    assert extractor.extract(batch).table.num_rows == len(batch.items)


def test_few_documents_are_in_hand_at_a_time(spec: RunSpec, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    extractor, in_hand, sizes = extractor_of(spec, monkeypatch), list[int](), list[int]()
    put = DeviceQueue.put

    def noted(queue: DeviceQueue, launched: Launched) -> None:
        sizes.append(len(launched.documents))
        put(queue, launched)

    def take(stage: str, documents: Iterable[int]) -> None:
        if stage != "tokenise":
            in_hand.append(len([*documents]))

    monkeypatch.setattr(DeviceQueue, "put", noted)
    extractor.extract(batch, on_taking=take)
    assert len(sizes) > 2 * MOST_WAITING * STREAMS
    assert STREAMS < max(in_hand) <= (MOST_WAITING * STREAMS + 1) * max(sizes), "a death would accuse too many"
