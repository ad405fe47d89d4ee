"""A batch in several chunks, and a device that computes behind the caller's back: the rows are the same.

One thread of a CPU is done when it is asked; here it says that it is not, as CUDA does.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines import chunk, device_queue, streams
from pipelines.documents import Batch, Document, Origin, Reason
from pipelines.errors import ProcessError
from pipelines.extract import Extractor
from pipelines.features.fetch import Fetch
from pipelines.readings.texts import TextReading
from pipelines.roberta.checkpoint import find
from pipelines.spec import CorpusSpec, Dtype, Pooling, RunSpec, embedding_feature, labels_feature
from pipelines.suspicion import Suspicion

DOCUMENTS = 150


@pytest.fixture
def extractor(tiny_model: Path, tiny_classifier: Path, monkeypatch: pytest.MonkeyPatch) -> Extractor:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # the caller's own: nothing is computed beside it
    monkeypatch.setattr(streams, "MOST_WAITING", streams.MOST_ON_CUDA)
    model = find(str(tiny_model))
    features = (embedding_feature(model, Pooling.MEAN), labels_feature(find(str(tiny_classifier)), None))
    spec = RunSpec(CorpusSpec(()), model, features, 100, Dtype.FLOAT32, 512, batch_invariant=True)
    return Extractor(spec, token_budget=300, once=True)


@pytest.fixture
def batch(texts: list[str]) -> Batch:
    documents = [
        Document(str(number), texts[number % 120], None, Origin("memory", number, 0)) for number in range(DOCUMENTS)
    ]
    return Batch(0, 0, list(documents))


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk, "FIRST_DOCUMENTS", 16)
    monkeypatch.setattr(chunk, "MOST_DOCUMENTS", 64)


@pytest.fixture
def slow_device(monkeypatch: pytest.MonkeyPatch, small_chunks: None) -> list[int]:
    """Never done before it is waited for; lists how many micro-batches were under way at each wait."""
    under_way: list[int] = []
    values, put = Fetch.values, device_queue.DeviceQueue.put
    waiting: set[int] = set()

    def begun(self: device_queue.DeviceQueue, launched: device_queue.Launched) -> None:
        waiting.add(id(launched.outcome))
        put(self, launched)

    def waited_for(self: Fetch) -> Any:
        under_way.append(len(waiting))
        waiting.discard(id(self))
        return values(self)

    monkeypatch.setattr(Fetch, "is_ready", property(lambda _: False))
    monkeypatch.setattr(Fetch, "values", waited_for)
    monkeypatch.setattr(device_queue.DeviceQueue, "put", begun)
    return under_way


def test_chunks_are_small_at_first_and_cover_their_group() -> None:
    group = np.arange(3, 20_000)
    sizes = [len(part) for part in chunk.chunks(group)]
    assert sizes[:4] == [1024, 2048, 4096, 4096]
    assert np.array_equal(np.concatenate([*chunk.chunks(group)]), group)
    assert [*chunk.chunks(group[:0])] == []


def test_chunks_change_nothing(extractor: Extractor, batch: Batch, request: pytest.FixtureRequest) -> None:
    whole = Extractor(extractor.spec, token_budget=300, once=True).extract(batch)
    request.getfixturevalue("small_chunks")
    cut = extractor.extract(batch)
    assert cut.table.combine_chunks().equals(whole.table.combine_chunks())
    assert cut.repeated == whole.repeated == 30  # of the first 30 texts, which other chunks have computed
    assert cut.table["id"].to_pylist() == [str(number) for number in range(DOCUMENTS)]


def test_a_device_that_takes_its_time_changes_nothing_and_is_kept_busy(
    extractor: Extractor, batch: Batch, request: pytest.FixtureRequest
) -> None:
    whole = Extractor(extractor.spec, token_budget=300, once=True).extract(batch)
    under_way: list[int] = request.getfixturevalue("slow_device")
    done: list[tuple[int, int]] = []
    behind = extractor.extract(batch, lambda documents, tokens: done.append((documents, tokens)))
    assert behind.table.combine_chunks().equals(whole.table.combine_chunks())
    assert sum(documents for documents, _ in done) == DOCUMENTS
    assert 1 < max(under_way) <= streams.MOST_WAITING + 1


def test_what_is_under_way_is_in_hand_too(
    extractor: Extractor, batch: Batch, slow_device: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    stages: list[tuple[str, tuple[int, ...]]] = []
    read = TextReading.read

    def tokenised(self: TextReading, documents: Any) -> Any:
        assert [document.id for document in documents] == [str(index) for index in stages[-1][1]][-len(documents) :]
        return read(self, documents)

    monkeypatch.setattr(TextReading, "read", tokenised)

    def take(stage: str, documents: Iterable[int]) -> None:
        stages.append((stage, tuple(documents)))

    extractor.compute(batch, on_taking=take)
    tokenise = [documents for stage, documents in stages if stage == "tokenise"]
    assert tokenise[0] == tuple(range(16))
    assert set(tokenise[1]) == set(range(16 + 32))  # the second chunk, while the device has the first
    assert slow_device
    assert stages[-1] == ("", ())


def test_suspects_are_computed_apart_even_then(extractor: Extractor, batch: Batch, slow_device: list[int]) -> None:
    suspicion = Suspicion(deaths=1, groups=((3, 4), (5,)))
    stages: list[tuple[str, tuple[int, ...]]] = []
    found = extractor.compute(
        batch, on_taking=lambda stage, documents: stages.append((stage, tuple(documents))), suspicion=suspicion
    ).assemble()
    first = [documents for _, documents in stages[: next(n for n, s in enumerate(stages) if 5 in s[1])]]
    assert {index for documents in first for index in documents} == {3, 4}
    assert all(not {3, 4} & set(documents) for _, documents in stages if 5 in documents)
    assert found.table["id"].to_pylist() == [str(number) for number in range(DOCUMENTS)]
    assert slow_device


def test_what_fails_behind_the_callers_back_costs_one_document(
    extractor: Extractor, batch: Batch, slow_device: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: dict[int, Any] = {}
    put, values = device_queue.DeviceQueue.put, Fetch.values

    def begun(self: device_queue.DeviceQueue, one: device_queue.Launched) -> None:
        launched[id(one.outcome)] = one.documents
        put(self, one)

    def failing(self: Fetch) -> Any:
        found = values(self)
        if 7 in launched[id(self)]:
            raise ValueError("a number that no kernel takes")
        return found

    monkeypatch.setattr(device_queue.DeviceQueue, "put", begun)
    monkeypatch.setattr(Fetch, "values", failing)
    found = extractor.extract(batch)
    assert [(reject.id, reject.reason) for reject in found.rejects] == [("7", Reason.CRASH), ("127", Reason.CRASH)]
    assert found.table.num_rows == DOCUMENTS - 2  # document 127 has the same text, and was not computed
    assert slow_device


def test_a_device_that_is_lost_behind_the_callers_back_ends_the_process(
    extractor: Extractor, batch: Batch, slow_device: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(_: Fetch) -> Any:
        raise torch.AcceleratorError("CUDA error: unspecified launch failure", 719)

    monkeypatch.setattr(Fetch, "values", lost)
    with pytest.raises(ProcessError, match="The device is lost"):
        extractor.extract(batch)
    assert slow_device == []


class Broken:
    """An event of a device that is lost: CUDA says so to everybody who asks for anything."""

    def query(self) -> bool:
        raise torch.AcceleratorError("CUDA error: unspecified launch failure", 719)

    def synchronize(self) -> None:
        self.query()


def test_a_device_that_is_lost_while_nobody_waits_ends_the_process_too(
    extractor: Extractor, batch: Batch, small_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Fetch.__init__

    def begun(self: Fetch, computed: Any) -> None:
        begin(self, computed)
        self._event = Broken()

    monkeypatch.setattr(Fetch, "__init__", begun)
    with pytest.raises(ProcessError, match="The device is lost"):
        extractor.extract(batch)


def test_on_cuda_micro_batches_are_cut_by_tokens(extractor: Extractor) -> None:
    lengths, config = np.array([512, 64]), extractor._forwards[0].encoder.config
    assert (extractor._costs(lengths, config) > lengths).all()
    extractor._device = torch.device("cuda")
    assert np.array_equal(extractor._costs(lengths, config), lengths)
