"""Micro-batches side by side on a CPU: the rows are the same, and what fails costs what it costs otherwise."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.device_queue import DeviceQueue, Launched
from pipelines.documents import Batch, Document, Origin, Reason
from pipelines.errors import SurroundingsError
from pipelines.extract import Extractor
from pipelines.features.fetch import Fetch
from pipelines.features.shared import SharedForward
from pipelines.readings.inputs import Ids
from pipelines.roberta.checkpoint import find
from pipelines.spec import CorpusSpec, Dtype, Pooling, RunSpec, embedding_feature, labels_feature
from pipelines.streams import MOST_STREAMS, MOST_WAITING, shared_out

STREAMS = 3


@pytest.fixture
def spec(tiny_model: Path, tiny_classifier: Path) -> RunSpec:
    model = find(str(tiny_model))
    features = (embedding_feature(model, Pooling.MEAN), labels_feature(find(str(tiny_classifier)), None))
    return RunSpec(CorpusSpec(()), model, features, 100, Dtype.FLOAT32, 512, batch_invariant=True)


@pytest.fixture
def batch(texts: list[str]) -> Batch:
    return Batch(0, 0, [Document(str(n), text, None, Origin("memory", n, 0)) for n, text in enumerate(texts)])


def extractor_of(spec: RunSpec, streams: int = STREAMS) -> Extractor:
    before = torch.get_num_threads()
    torch.set_num_threads(streams)
    try:
        return Extractor(spec, token_budget=300)
    finally:
        torch.set_num_threads(before)


def fail_on(document: Document, error: Exception, extractor: Extractor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every forward pass with this document fail."""
    (bad,) = extractor._forwards[0].reading.read([document])
    compute = SharedForward.compute

    def failing(forward: SharedForward, rows: Sequence[Ids], notes: Sequence[Any]) -> Fetch:
        if any(np.array_equal(row, bad.rows[0]) for row in rows):
            raise error
        return compute(forward, rows, notes)

    monkeypatch.setattr(SharedForward, "compute", failing)


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
    alone = extractor_of(spec, streams=1).extract(batch).table
    threads = torch.get_num_threads()
    watched = Watched(monkeypatch)
    side_by_side = extractor_of(spec).extract(batch).table
    assert side_by_side.combine_chunks().equals(alone.combine_chunks())
    assert watched.most == len(watched.threads) == STREAMS
    assert watched.torch_threads == {1}
    assert torch.get_num_threads() == threads, "the caller's own threads are its own"
    with ThreadPoolExecutor(1) as later:
        assert later.submit(torch.get_num_threads).result() == threads, "nor are those of threads to come theirs"


def test_cores_are_used_by_as_many_streams_as_is_fastest() -> None:
    assert [shared_out(cores) for cores in (1, 2, 8, 11, 12, 64)] == [(1, 1), (2, 1), (8, 1), (5, 2), (6, 2), (8, 8)]
    for cores in range(1, 200):
        count, each = shared_out(cores)
        assert 0.88 * cores <= count * each <= cores
        assert min(cores, 4) <= count <= MOST_STREAMS


def test_a_document_that_fails_in_a_stream_costs_itself_alone(
    spec: RunSpec, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = extractor_of(spec)
    fail_on(batch.documents[7], ValueError("a number that no kernel takes"), extractor, monkeypatch)
    done: list[int] = []
    found = extractor.extract(batch, lambda documents, _: done.append(documents))
    assert [(reject.id, reject.reason) for reject in found.rejects] == [("7", Reason.CRASH)]
    assert found.table.num_rows == len(batch.items) - 1
    assert sum(done) == len(batch.items)


def test_memory_that_is_too_small_in_a_stream_lowers_the_budget(
    spec: RunSpec, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor, compute = extractor_of(spec), SharedForward.compute
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


def test_a_document_that_lacks_memory_beside_others_is_computed_alone(
    spec: RunSpec, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is on what is computed at a time, by all streams together."""
    extractor, compute = extractor_of(spec), SharedForward.compute
    lock, held, most = threading.Lock(), [0], [0]

    def limited(forward: SharedForward, rows: Sequence[Ids], notes: Sequence[Any]) -> Fetch:
        tokens = sum(map(len, rows))
        with lock:
            if held[0] and held[0] + tokens > 60:
                raise MemoryError
            held[0] += tokens
            most[0] = max(most[0], held[0])
        try:
            time.sleep(0.002)
            return compute(forward, rows, notes)
        finally:
            with lock:
                held[0] -= tokens

    monkeypatch.setattr(SharedForward, "compute", limited)
    found = extractor.extract(batch)
    assert (found.table.num_rows, found.rejects) == (len(batch.items), [])
    assert held == [0]
    assert most[0] > 0


def test_a_document_that_lacks_memory_alone_is_rejected(
    spec: RunSpec, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = extractor_of(spec)
    fail_on(batch.documents[9], MemoryError(), extractor, monkeypatch)
    found = extractor.extract(batch)
    assert [(reject.id, reject.reason) for reject in found.rejects] == [("9", Reason.OUT_OF_MEMORY)]
    assert found.table.num_rows == len(batch.items) - 1


def test_threads_that_cannot_be_had_are_said_when_the_model_is_loaded(
    spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as system:
        system.setattr(threading.Thread, "start", refused)
        with pytest.raises(SurroundingsError, match="may not start 3 threads: can't start new thread"):
            extractor_of(spec)


def test_nothing_runs_on_behind_a_wait_that_was_interrupted(
    spec: RunSpec, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor, watched = extractor_of(spec), Watched(monkeypatch)

    def interrupted(_: Future[Any], timeout: float | None = None) -> None:
        while not watched.now:
            time.sleep(0.001)
        raise KeyboardInterrupt

    with monkeypatch.context() as waiting:
        waiting.setattr(Future, "result", interrupted)
        with pytest.raises(KeyboardInterrupt):
            extractor.extract(batch)
        assert watched.now == 0


def test_a_batch_that_is_given_up_leaves_nothing_running(
    spec: RunSpec, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor, watched = extractor_of(spec), Watched(monkeypatch)

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
    extractor, in_hand, sizes = extractor_of(spec), list[int](), list[int]()
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
