"""The time left that a run tells, by a clock that is computed: right within a tenth after a tenth of the run, however
the lengths of the documents drift, while only a part of the corpus is planned."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import random
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import pytest
import zstandard

from pipelines.batching import batches
from pipelines.corpus import CorpusOptions, discover, open_corpus
from pipelines.corpus.blocks import expansion
from pipelines.documents import Batch
from pipelines.forecast import Forecast, Work
from pipelines.inline import run_inline
from pipelines.opening import Request, make_spec
from pipelines.parts.limit import Limit
from pipelines.parts.plan import entry_of
from pipelines.roberta.tokenizer import Tokenizer
from pipelines.spec import CorpusSpec, Dtype
from tasks.runs import open_run
from worker.cli.progress import Pace

DOCUMENTS, BATCH = 2000, 16
RUN_S, LOADING_S = 1000.0, 30.0
ATTENTION = 2 * 768 + 3072
"""Tokens of a document at which attention costs as much as the linear maps, in the shape of roberta-base."""
DRIFTS: dict[str, Callable[[float], float]] = {
    "the same": lambda place: 6,
    "rising": lambda place: 1 + 30 * place,
    "falling": lambda place: 31 - 30 * place,
    "twelve times as long in the second half": lambda place: 1 if place < 0.5 else 12,
    "forty times as long in the last tenth": lambda place: 1 if place < 0.9 else 40,
    "a peak in the middle": lambda place: 40 if 0.45 < place < 0.55 else 2,
}


class Drifting(NamedTuple):
    """A corpus, its batches, and the tokens that a model reads of each document at most 512."""

    spec: CorpusSpec
    planned: list[Batch]
    costs: list[float]


@pytest.fixture(scope="module", params=DRIFTS)
def corpus(
    request: pytest.FixtureRequest, texts: list[str], tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Drifting:
    draw, mean = random.Random(0), DRIFTS[request.param]
    path = tmp_path_factory.mktemp("drift") / "corpus.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(DOCUMENTS):
            count = max(1, round(mean(number / DOCUMENTS) * draw.uniform(0.7, 1.3)))
            text = " ".join(texts[(number + k) % len(texts)] for k in range(count))
            file.write(json.dumps({"text": text}) + "\n")
    spec = discover([str(path)], CorpusOptions())
    with open_corpus(spec) as reader:
        planned = list(batches(reader, max_documents=BATCH))
    tokenizer, costs = Tokenizer(tiny_model, "roberta", 600), []
    for batch in planned:
        used = tokenizer.encode([document.text for document in batch.documents], None, 512).n_used.astype(float)
        costs.append(float((used + used**2 / ATTENTION).sum()))
    return Drifting(spec, planned, costs)


@pytest.mark.parametrize("ahead", [1, 8], ids=["inline", "through a queue"])
def test_the_time_left_is_right_within_a_tenth_after_a_tenth_of_the_run(corpus: Drifting, ahead: int) -> None:
    forecast, pace = Forecast(corpus.spec, 512), Pace()
    ends = [RUN_S * cost / sum(corpus.costs) for cost in accumulate(corpus.costs)]
    planned, errors = 0, []
    for done, now in enumerate(ends, start=1):
        for batch in corpus.planned[planned : done + ahead]:
            forecast.add(batch if ahead == 1 else entry_of(batch))
        planned = done + ahead
        work = forecast.work(done * BATCH, complete=planned > len(corpus.planned))
        assert work is not None
        left_s = pace.left_s(LOADING_S + now, work)
        if RUN_S / 10 <= now <= RUN_S / 2:
            assert left_s is not None
            errors.append((left_s + now - RUN_S) / RUN_S)
    assert len(errors) > 5
    assert max(map(abs, errors)) <= 0.1


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [("gz", gzip.compress), ("zst", zstandard.compress), ("bz2", bz2.compress), ("xz", lzma.compress)],
)
def test_a_compressed_file_tells_how_much_of_it_is_planned(
    suffix: str, compress: Callable[[bytes], bytes], texts: list[str], tmp_path: Path
) -> None:
    draw, path = random.Random(0), tmp_path / f"corpus.jsonl.{suffix}"
    lines = [" ".join(draw.choices(texts, k=draw.randint(1, 5))) + f" {draw.random()}" for _ in range(4000)]
    path.write_bytes(compress("".join(json.dumps({"text": line}) + "\n" for line in lines).encode()))
    spec = discover([str(path)], CorpusOptions())
    forecast, wanted = Forecast(spec, 512), sum(map(len, lines))
    with open_corpus(spec) as reader:
        for number, batch in enumerate(batches(reader, max_documents=100), start=1):
            forecast.add(batch)
            work = forecast.work(50, complete=False)
            assert work is not None
            if number >= 4:
                assert work.total == pytest.approx(wanted, rel=0.1)


def test_what_is_damaged_or_gone_tells_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"a" * 1000)[:20] + b"x")
    assert expansion(str(tmp_path / "a.gz"), "gzip") >= 1
    assert expansion(str(tmp_path / "nowhere.gz"), "gzip") == expansion("plain.txt", "none") == 1


def test_an_inline_run_tells_the_work_that_is_left_also_when_it_is_taken_up_again(
    small_corpus: Path, tiny_model: Path, tmp_path: Path
) -> None:
    request = Request((str(small_corpus),), CorpusOptions(), str(tiny_model), Dtype.FLOAT32, batch_documents=30)
    store, document = open_run(
        tmp_path / "out", make_spec(request), arguments=request.arguments, max_quarantined="0", code_version="1"
    )
    told: list[Work] = []

    def on_part(documents: int, tokens: int, total: int | None, work: Work | None) -> None:
        assert work is not None
        told.append(work)
        if len(told) == 4:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        run_inline(store, document, token_budget=2000, limit=Limit.parse("0"), on_part=on_part)
    run_inline(store, document, token_budget=2000, limit=Limit.parse("0"), on_part=on_part)
    before, after = told[:4], told[4:]
    assert len(after) == 6
    sizes = [len(json.loads(line)["text"]) for line in small_corpus.read_text().splitlines()]
    assert [work.done for work in before] == pytest.approx([sum(sizes[:end]) for end in (30, 60, 90, 120)])
    assert [work.done for work in after] == pytest.approx([sum(sizes[120:end]) for end in range(150, 330, 30)])
    assert all(work.total == pytest.approx(sum(sizes), rel=0.15) for work in before)
    assert all(work.total == pytest.approx(sum(sizes[120:]), rel=0.15) for work in after)
