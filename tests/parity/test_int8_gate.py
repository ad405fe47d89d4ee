"""The gate of int8: on a classifier that was trained, its vectors and labels are those of float32, or nearly."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from benchmarks.label_agreement import compare
from benchmarks.small_classifier import Recipe, train
from transformers import AutoTokenizer

from pipelines.assembly import Extracted
from pipelines.roberta.linear import takes_int8
from pipelines.spec import Dtype

TOPICS = {
    "water": ("river", "pump", "valve", "flood", "dam", "canal", "spring", "pipe"),
    "grain": ("mill", "flour", "harvest", "field", "sack", "barn", "plough", "seed"),
    "power": ("turbine", "wheel", "spark", "grid", "coil", "motor", "cable", "fuse"),
}
LEARNT, HELD_OUT = 1200, 600


def subjects(count: int, seed: int) -> tuple[list[str], list[str]]:
    """Texts with words of every topic, and the topic that most are of; of several the toss of a coin."""
    draw = random.Random(seed)
    texts, labels = [], []
    for _ in range(count):
        counts = {topic: draw.randrange(1, 7) for topic in TOPICS}
        words = [word for topic, number in counts.items() for word in draw.choices(TOPICS[topic], k=number)]
        draw.shuffle(words)
        texts.append(" ".join(words))
        labels.append(draw.choice([topic for topic, number in counts.items() if number == max(counts.values())]))
    return texts, labels


@pytest.fixture(scope="module")
def trained(make_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RoBERTa of two layers that has learnt to count."""
    folder = tmp_path_factory.mktemp("trained")
    texts, labels = subjects(LEARNT, 1)
    words = make_model(texts, folder / "words", vocab_size=360, max_positions=200)
    recipe = Recipe(layers=2, hidden=64, heads=2, epochs=5, peak_rate=2e-3, masked=0.0)
    return train(texts, labels, AutoTokenizer.from_pretrained(words), folder / "model", recipe)


@pytest.mark.skipif(not takes_int8(torch.device("cpu")), reason="int8 is oneDNN's")
def test_int8_gives_the_vectors_and_the_labels_of_float32(trained: Path, extract: Callable[..., Extracted]) -> None:
    texts, truth = subjects(HELD_OUT, 2)
    exact = extract(texts, trained, trained).table
    found = compare(exact, extract(texts, trained, trained, dtype=Dtype.INT8).table, truth, "embedding_mean")
    assert compare(exact, exact, truth, "embedding_mean")["accuracy"] > 0.75  # it was trained
    assert found["near_ties"]["0.1"] >= 10  # what is much worse turns some
    assert found["max_probability_difference"] > 1e-4  # it is another format
    assert found["agreement"] >= 0.99
    assert found["min_cosine"] >= 0.995
