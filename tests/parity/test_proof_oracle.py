"""The oracle of the proof sees texts as the engine does, or says that it cannot be asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from parity.conftest import LITERALS, MODEL_TYPES

from pipelines.documents import Document, Origin
from pipelines.proof.expected import probabilities, vector
from pipelines.proof.oracle import Oracle, Sight
from pipelines.readings.inputs import Inputs
from pipelines.readings.texts import TextReading
from pipelines.roberta.checkpoint import find
from pipelines.roberta.config import parse_config, read_json
from pipelines.roberta.tokenizer import Tokenizer
from pipelines.spec import TRUNCATED, EmbeddingOptions, Long, LongTexts, Pooling


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_ids_are_the_same_and_literal_specials_are_no_unigrams_question(
    model_type: str, checkpoints: dict[str, tuple[Path, Path]], odd_texts: Callable[[str], list[str]]
) -> None:
    model = find(str(checkpoints[model_type][0]))
    config = parse_config(read_json(Path(model.path) / "config.json"), model.path)
    ours, sight = Tokenizer(Path(model.path), model_type, config.vocab_size), Sight(model)
    texts = odd_texts(model_type)
    pairs: list[str | None] = [None if number % 3 else text for number, text in enumerate(reversed(texts))]
    texts, pairs = [*texts, "Where?", "", ""], [*pairs, "", "Mary came home.", ""]
    encoded = ours.encode(texts, pairs, 60)
    for text, pair, begin, end in zip(texts, pairs, encoded.offsets, encoded.offsets[1:], strict=False):
        if sight.reads_alike(text, pair):
            assert sight.rows(text, pair, 60, TRUNCATED) == [encoded.ids[begin:end].tolist()]
    assert sight.reads_alike("an ordinary text", None)
    for text in LITERALS:
        assert sight.reads_alike(text, None) is sight.reads_alike("text", text) is (model_type == "roberta")


def test_it_computes_a_head_only_where_it_is_asked_to(checkpoints: dict[str, tuple[Path, Path]]) -> None:
    encoder, classifier = (find(str(folder)) for folder in checkpoints["roberta"])
    (ids,) = Sight(encoder).rows("the river turns", None, 60, TRUNCATED)
    bare, labelled = Oracle(encoder, classifies=False).compute(ids), Oracle(classifier, classifies=True).compute(ids)
    np.testing.assert_array_equal(bare.hidden, labelled.hidden)
    assert len(bare.logits) == 0
    assert labelled.logits.shape == (len(classifier.labels),)
    assert probabilities([labelled], each=False).sum() == pytest.approx(1)
    last = bare.hidden[-1]
    np.testing.assert_allclose(vector([bare], EmbeddingOptions(Pooling.MEAN)), last.mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(vector([bare], EmbeddingOptions(Pooling.CLS)), last[0])
    np.testing.assert_array_equal(vector([bare], EmbeddingOptions(Pooling.MAX)), last.max(axis=0))
    mixed = EmbeddingOptions(Pooling.MEAN, (0, 1), (0.25, 0.75), dimensions=4, normalize=True)
    wanted = (0.25 * bare.hidden[0] + 0.75 * bare.hidden[1]).mean(axis=0)[:4]
    np.testing.assert_allclose(vector([bare], mixed), wanted / np.linalg.norm(wanted), rtol=1e-5)


def test_windows_are_those_of_the_tokenizers_library(checkpoints: dict[str, tuple[Path, Path]]) -> None:
    encoder = find(str(checkpoints["roberta"][0]))
    config = parse_config(read_json(Path(encoder.path) / "config.json"), encoder.path)
    tokenizer = Tokenizer(Path(encoder.path), "roberta", config.vocab_size)
    text, sight = "the river turns and turns again " * 40, Sight(encoder)
    for room, stride in ((20, 0), (20, 5), (33, 30), (500, 2)):
        long = LongTexts(Long.WINDOW, stride)
        (inputs,) = TextReading(tokenizer, room, long=long).read([Document("a", text, None, Origin("", 0, 0))])
        assert isinstance(inputs, Inputs)
        assert [row.tolist() for row in inputs.rows] == sight.rows(text, None, room, long)
