"""The work that is left is told from the bytes that a model reads of each document, however the lengths are mixed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.batching import batches
from pipelines.corpus import CorpusOptions, discover, open_corpus
from pipelines.documents import Batch
from pipelines.forecast import Forecast, Work
from pipelines.parts.plan import entry_of
from pipelines.roberta.tokenizer import Tokenizer
from pipelines.spec import CorpusSpec
from worker.cli.progress import Pace

MAX_TOKENS = 400


@pytest.fixture
def corpus(tmp_path: Path, texts: list[str]) -> CorpusSpec:
    """1,200 short documents, then 200 that are long, of which every tenth is longer than what is used."""
    subjects = [texts[number % len(texts)] for number in range(1200)]
    subjects += [" ".join(texts[:120] if number % 10 == 0 else texts[number % 50 :][:8]) for number in range(200)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in subjects[:700]))
    (tmp_path / "b.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in subjects[700:]))
    return discover([str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")], CorpusOptions())


@pytest.fixture
def planned(corpus: CorpusSpec) -> list[Batch]:
    with open_corpus(corpus) as reader:
        return list(batches(reader, max_documents=32))


def tokens_of(planned: list[Batch], folder: Path) -> list[int]:
    """Of each batch: the tokens that are used."""
    tokenizer = Tokenizer(folder, "roberta", 600)
    texts = [[document.text for document in batch.documents] for batch in planned]
    return [int(tokenizer.encode(some, None, MAX_TOKENS).n_used.sum()) for some in texts]


def share(work: Work | None) -> float:
    assert work is not None
    return work.done / work.total


@pytest.mark.parametrize(("by_reference", "tolerance"), [(False, 0.04), (True, 0.12)], ids=["read", "scanned"])
def test_the_share_of_the_work_that_is_done_is_that_of_the_tokens(
    corpus: CorpusSpec, planned: list[Batch], tiny_model: Path, by_reference: bool, tolerance: float
) -> None:
    forecast = Forecast(corpus, MAX_TOKENS)
    for batch in planned:
        forecast.add(entry_of(batch) if by_reference else batch)
    tokens, documents = tokens_of(planned, tiny_model), 0
    worst = 0.0
    for number, batch in enumerate(planned, start=1):
        documents += len(batch.items)
        found = share(forecast.work(documents, complete=True))
        left, estimated = 1 - sum(tokens[:number]) / sum(tokens), 1 - found
        worst = max(worst, abs(estimated - left))
    assert worst < tolerance  # a scan knows the bytes of a batch, not those of its documents
    assert share(forecast.work(1200, complete=True)) < 0.5 < 1200 / 1400
    assert share(forecast.work(1400, complete=True)) == 1.0


def test_what_is_not_planned_yet_counts_by_the_files_sizes_and_some_lines(
    corpus: CorpusSpec, planned: list[Batch]
) -> None:
    forecast = Forecast(corpus, MAX_TOKENS)
    assert forecast.work(0, complete=False) is None
    whole = Forecast(corpus, MAX_TOKENS)
    for batch in planned[:10]:
        forecast.add(batch)
    for batch in planned:
        whole.add(batch)
    found, true = forecast.work(320, complete=False), whole.work(320, complete=True)
    assert found is not None
    assert true is not None
    assert found.done == true.done
    assert found.total == pytest.approx(true.total, rel=0.1)


def test_what_was_done_before_is_no_work_and_what_is_planned_again_counts_once(
    corpus: CorpusSpec, planned: list[Batch]
) -> None:
    forecast = Forecast(corpus, MAX_TOKENS)
    for _ in range(2):
        for batch in planned:
            forecast.add(batch, done=batch.number < 20)
    fresh = Forecast(corpus, MAX_TOKENS)
    for batch in planned[20:]:
        fresh.add(batch)
    assert forecast.work(64, complete=True) == fresh.work(64, complete=True)
    before = forecast.work(0, complete=True)
    assert before is not None
    assert (before.done, before.total > 0) == (0.0, True)


def test_a_corpus_without_documents_is_no_work(corpus: CorpusSpec) -> None:
    forecast = Forecast(corpus, MAX_TOKENS)
    forecast.add(Batch(0, 0, []))
    assert forecast.work(0, complete=True) == Work(0.0, 0.0)


def test_the_time_left_follows_the_work_not_the_clock_between_two_parts() -> None:
    pace = Pace()
    assert pace.left_s(0.0, Work(0.0, 1000.0)) is None
    assert pace.left_s(5.0, Work(100.0, 1000.0)) is None  # the time until then holds the loading of the model
    assert pace.left_s(9.0, Work(100.0, 1000.0)) is None
    assert pace.left_s(15.0, Work(200.0, 1000.0)) == 80.0
    assert pace.left_s(19.0, Work(200.0, 1000.0)) == 76.0
    assert pace.left_s(25.0, Work(300.0, 1000.0)) == 70.0
    assert pace.left_s(500.0, Work(300.0, 1000.0)) == 0.0


def test_the_pace_is_that_of_the_later_half_and_takes_little_memory() -> None:
    pace = Pace()
    for second in range(20_000):
        left_s = pace.left_s(float(second), Work(float(min(second, 5000) + 3 * max(0, second - 5000)), 80_000.0))
    assert left_s == pytest.approx((80_000 - 5000 - 3 * 14_999) / 3, rel=0.01)
    assert len(pace._moments) < 1100
