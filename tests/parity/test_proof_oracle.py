"""The oracle of the proof sees texts as the engine does, or says that it cannot be asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from parity.conftest import LITERALS, MODEL_TYPES

from pipelines.proof.oracle import Oracle, Sight
from pipelines.roberta.checkpoint import find
from pipelines.roberta.config import parse_config, read_json
from pipelines.roberta.tokenizer import Tokenizer
from pipelines.spec import Pooling


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_ids_are_the_same_and_literal_specials_are_no_unigrams_question(
    model_type: str, checkpoints: dict[str, tuple[Path, Path]], odd_texts: Callable[[str], list[str]]
) -> None:
    model = find(str(checkpoints[model_type][0]))
    config = parse_config(read_json(Path(model.path) / "config.json"), model.path)
    ours, sight = Tokenizer(Path(model.path), model_type, config.vocab_size), Sight(model)
    texts = odd_texts(model_type)
    pairs: list[str | None] = [None if number % 3 else text for number, text in enumerate(reversed(texts))]
    encoded = ours.encode(texts, pairs, 60)
    for text, pair, begin, end in zip(texts, pairs, encoded.offsets, encoded.offsets[1:], strict=False):
        if sight.reads_alike(text, pair):
            assert sight.ids(text, pair, 60) == encoded.ids[begin:end].tolist()
    assert sight.reads_alike("an ordinary text", None)
    for text in LITERALS:
        assert sight.reads_alike(text, None) is sight.reads_alike("text", text) is (model_type == "roberta")


def test_it_computes_a_head_only_where_it_is_asked_to(checkpoints: dict[str, tuple[Path, Path]]) -> None:
    encoder, classifier = (find(str(folder)) for folder in checkpoints["roberta"])
    ids = Sight(encoder).ids("the river turns", None, 60)
    bare, labelled = Oracle(encoder, classifies=False).compute(ids), Oracle(classifier, classifies=True).compute(ids)
    np.testing.assert_array_equal(bare.hidden, labelled.hidden)
    assert len(bare.probabilities) == 0
    assert labelled.probabilities.shape == (len(classifier.labels),)
    assert labelled.probabilities.sum() == pytest.approx(1)
    np.testing.assert_allclose(bare.pooled(Pooling.MEAN), bare.hidden.mean(axis=0))
    np.testing.assert_array_equal(bare.pooled(Pooling.CLS), bare.hidden[0])
    np.testing.assert_array_equal(bare.pooled(Pooling.MAX), bare.hidden.max(axis=0))
