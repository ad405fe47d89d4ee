"""Spans are those of transformers' token-classification pipeline, and of a document in windows those of its tokens."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from parity.conftest import LONG, documents
from parity.head_models import add_token_classifier
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

from pipelines.assembly import Extracted
from pipelines.documents import Batch
from pipelines.extract import Extractor
from pipelines.readings.texts import windows
from pipelines.roberta.checkpoint import find
from pipelines.roberta.needed_head import token_labels
from pipelines.spec import (
    TRUNCATED,
    Aggregation,
    CorpusSpec,
    Dtype,
    Long,
    LongTexts,
    RunSpec,
    SpansOptions,
    spans_feature,
)

MODEL_TYPES = ("roberta", "xlm-roberta", "camembert")
BIO = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-MISC-X", "I-MISC-X")
PLAIN = ("NOUN", "VERB", "O", "X-Y")
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def taggers(checkpoints: dict[str, tuple[Path, Path]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A token classifier on the encoder of each model type; with labels without B- and I- for the last."""
    root = tmp_path_factory.mktemp("taggers")
    return {
        model_type: add_token_classifier(checkpoints[model_type][0], root / model_type, labels)
        for model_type, labels in zip(MODEL_TYPES, (BIO, BIO, PLAIN), strict=True)
    }


def spans(
    texts: list[str],
    folder: Path,
    aggregation: Aggregation = Aggregation.SIMPLE,
    *,
    max_tokens: int = 198,
    long: LongTexts = TRUNCATED,
    prefix: str = "",
) -> list[list[dict[str, Any]]]:
    """The spans of each text, by the engine."""
    model = find(str(folder))
    feature = spans_feature(model, None, SpansOptions(token_labels(model), aggregation))
    spec = RunSpec(CorpusSpec(()), model, (feature,), max_tokens, Dtype.FLOAT32, 512, prefix=prefix, long=long)
    result: Extracted = Extractor(spec, token_budget=700).extract(Batch(0, 0, list(documents(texts))))
    assert result.rejects == []
    found: list[list[dict[str, Any]]] = result.table["spans"].to_pylist()
    return found


def truth(texts: list[str], folder: Path, aggregation: Aggregation) -> list[list[dict[str, Any]]]:
    """The same by transformers, one text at a time."""
    tokenizer = AutoTokenizer.from_pretrained(folder, split_special_tokens=True)
    tagger = pipeline(
        "token-classification",
        AutoModelForTokenClassification.from_pretrained(folder).eval(),
        tokenizer=tokenizer,
        device=-1,
        aggregation_strategy=str(aggregation),
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Tokenizer does not support real words")
        return [
            [
                {
                    "label": entity["entity" if aggregation is Aggregation.NONE else "entity_group"],
                    "score": float(entity["score"]),
                    "begin": entity["start"],
                    "end": entity["end"],
                    "text": text[entity["start"] : entity["end"]],
                }
                for entity in tagger(text)
            ]
            for text in texts
        ]


@pytest.mark.parametrize("model_type", MODEL_TYPES)
@pytest.mark.parametrize("aggregation", Aggregation)
def test_spans_are_those_of_transformers(
    model_type: str,
    aggregation: Aggregation,
    taggers: dict[str, Path],
    odd_texts: Callable[[str], list[str]],
) -> None:
    subjects = odd_texts(model_type)
    found, wanted = spans(subjects, taggers[model_type], aggregation), truth(subjects, taggers[model_type], aggregation)

    for text, ours, theirs in zip(subjects, found, wanted, strict=True):
        assert [span | {"score": 0} for span in ours] == [span | {"score": 0} for span in theirs], text
        assert np.allclose([s["score"] for s in ours], [s["score"] for s in theirs], rtol=0, atol=TOLERANCE)
    assert len({span["label"] for document in found for span in document}) > 2
    if aggregation in (Aggregation.SIMPLE, Aggregation.FIRST, Aggregation.MAX):
        assert any(len(span["text"].split()) > 1 for document in found for span in document)


@pytest.mark.parametrize("stride", [0, 7, 20, 40])
@pytest.mark.parametrize("aggregation", [Aggregation.NONE, Aggregation.AVERAGE])
def test_in_windows_each_token_is_judged_where_it_is_farthest_from_a_border(
    aggregation: Aggregation, stride: int, taggers: dict[str, Path]
) -> None:
    text, folder, max_tokens = LONG[:1500], taggers["roberta"], 50
    (found,) = spans([text], folder, aggregation, max_tokens=max_tokens, long=LongTexts(Long.WINDOW, stride))

    tokenizer = AutoTokenizer.from_pretrained(folder, split_special_tokens=True)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, places = encoded["input_ids"], encoded["offset_mapping"]
    model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    best: dict[int, tuple[int, Any]] = {}
    for begin, end in windows(len(ids), max_tokens - 2, stride):
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([[0, *ids[begin:end], 2]])).logits[0, 1:-1]
        for token in range(begin, end):
            distance = min(
                token - begin if begin else len(ids),
                end - 1 - token if end < len(ids) else len(ids),
            )
            if token not in best or distance > best[token][0]:
                best[token] = distance, torch.softmax(logits[token - begin], -1).numpy()
    probabilities = np.stack([best[token][1] for token in range(len(ids))])

    if aggregation is Aggregation.NONE:
        wanted = [
            {"label": BIO[row.argmax()], "begin": begin, "end": end}
            for row, (begin, end) in zip(probabilities, places, strict=True)
            if BIO[row.argmax()] != "O"
        ]
        assert [{key: span[key] for key in ("label", "begin", "end")} for span in found] == wanted
    else:
        words = np.cumsum([begin == 0 or text[begin - 1] == " " for begin, _ in places])
        means = np.stack([probabilities[words == word].mean(axis=0) for word in np.unique(words)])
        named = sum(BIO[row.argmax()] != "O" for row in means)
        assert 0 < len(found) <= named
        assert {span["end"] for span in found} <= {end for _, end in places}
    assert found[-1]["end"] > len(text) - 60, "the end of the text was read as well"


def test_spans_reach_over_the_borders_of_windows(
    checkpoints: dict[str, tuple[Path, Path]], tmp_path: Path, texts: list[str]
) -> None:
    """One kind everywhere is one span, in however many windows it was found."""
    folder = add_token_classifier(checkpoints["roberta"][0], tmp_path / "one", ("X", "O"), favourite=0)
    text = " ".join(texts[:20])
    for aggregation in (Aggregation.SIMPLE, Aggregation.FIRST, Aggregation.AVERAGE, Aggregation.MAX):
        (found,) = spans([text], folder, aggregation, max_tokens=20, long=LongTexts(Long.WINDOW, 4))
        assert [(span["label"], span["begin"], span["end"]) for span in found] == [("X", 0, len(text))]


def test_a_prefix_is_read_but_has_no_spans(taggers: dict[str, Path], texts: list[str]) -> None:
    prefix = "the keeper says: "
    for aggregation in (Aggregation.NONE, Aggregation.FIRST):
        whole = truth([prefix + text for text in texts[:5]], taggers["roberta"], aggregation)
        found = spans(texts[:5], taggers["roberta"], aggregation, prefix=prefix)
        for text, ours, theirs in zip(texts, found, whole, strict=False):
            assert [text[span["begin"] : span["end"]] for span in ours] == [span["text"] for span in ours]
            ends = [span["end"] - len(prefix) for span in theirs if span["end"] > len(prefix)]
            assert [span["end"] for span in ours][-len(ends) :] == ends
            assert all(span["begin"] >= 0 for span in ours)
