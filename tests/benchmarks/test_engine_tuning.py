"""The way in which a contestant is measured is the fastest of those tried, and its streams change no vector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmarks.engine import lineup, page, tuning
from benchmarks.engine.models import TINY, make_models
from benchmarks.engine.seat import Seat
from benchmarks.engine.texts import Corpus, synthetic
from benchmarks.engine.tuning import Way, fastest

THREADS = 2
STREAMED = {entry.file: entry for entry in lineup.peers() if entry.streams and entry.kind == "fp32"}


@pytest.mark.parametrize(
    ("rates", "streams"),
    [
        ({Way(16): 4, Way(32): 3, Way(8): 2}, ()),
        ({Way(16): 4, Way(32): 3, Way(8): 5, Way(4): 6}, ()),
        ({Way(16): 4, Way(32): 5, Way(64): 6}, ()),
        ({Way(16): 4, Way(16, 2): 3, Way(32): 5, Way(64): 2}, (2,)),
        ({Way(16): 4, Way(16, 2): 5, Way(32, 2): 3, Way(8, 2): 6, Way(4, 2): 2}, (2,)),
    ],
)
def test_the_fastest_way_is_found_with_few_passes(rates: dict[Way, float], streams: tuple[int, ...]) -> None:
    asked: list[Way] = []

    def rate(way: Way) -> float:
        asked.append(way)
        return rates[way]

    assert fastest(rate, lineup.BATCHES, streams, 512) == max(rates.items(), key=lambda item: item[1])
    assert asked == list(rates)


def test_several_streams_are_compared_with_one_where_each_has_two_batches() -> None:
    way, _ = fastest(lambda way: way.streams / way.batch, (16, 32, 8), (2,), 32)
    assert way == Way(8, 2)
    way, _ = fastest(lambda way: way.batch if way.streams == 1 else 0.0, (16, 32, 8), (2,), 1)
    assert way == Way(32)
    rates = {4: 3.0, 8: 1.0, 16: 4.0, 32: 5.0, 64: 2.0}  # what is tried from is not the small one, if one stream wins
    way, _ = fastest(lambda way: rates[way.batch] if way.streams == 1 else 0.0, (16, 4, 8, 32, 64), (2,), 16)
    assert way == Way(32)


def test_a_contestant_of_one_batch_size_without_streams_is_measured_once() -> None:
    assert fastest(lambda way: 3.0, (512,), (), 32) == (Way(512), 3.0)


def test_the_page_says_how_many_streams_there_were() -> None:
    assert page._taken({"documents": 1344, "batch": 16, "streams": 2}) == "1,344 by 16, 2 streams"
    assert page._taken({"documents": 1344, "batch": 16, "streams": 1}) == "1,344 by 16"
    assert page._taken({"documents": 1344, "batch": 16}) == "1,344 by 16"


@pytest.mark.slow
@pytest.mark.parametrize("file", STREAMED)
def test_streams_give_the_same_vectors_in_the_same_order(file: str, tmp_path: Path) -> None:
    entry = STREAMED[file]
    if entry.missing:
        pytest.skip(f"not installed: {', '.join(entry.missing)}")
    model, _ = make_models(TINY, tmp_path / "models", None)
    corpus = Corpus("mix", "made-up words", tuple(synthetic("mix", 60)))
    seat = Seat(entry, THREADS, tmp_path / "logs")
    try:
        seat.prepare(model, tmp_path / "converted")
        one, two, again = (tuning.embed(seat, corpus, 60, Way(8, streams)).value for streams in (1, THREADS, 1))
        assert tuning.calibrate(seat, corpus, 0.2).documents >= tuning.STEP
    finally:
        seat.close()
    assert one.shape == (60, TINY.hidden)
    np.testing.assert_allclose(two, one, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(again, one)
