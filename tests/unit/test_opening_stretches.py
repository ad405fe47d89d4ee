"""--spans and --answer: what they become, and what is refused before anything is computed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from parity.head_models import add_question_answering, add_token_classifier

from pipelines.corpus import CorpusOptions
from pipelines.errors import InputError, PenstockError, UsageError
from pipelines.opening.answers import AskedAnswers
from pipelines.opening.request import Request, make_spec
from pipelines.opening.spans import AskedSpans
from pipelines.roberta.checkpoint import find
from pipelines.spec import (
    MAX_BATCH_TEXT_BYTES,
    Aggregation,
    AnswerOptions,
    CorpusSpec,
    Dtype,
    Long,
    LongTexts,
    RunSpec,
    SpansOptions,
    from_json,
    spans_feature,
    to_json,
)

LABELS = ("O", "B-PER", "I-PER")


@pytest.fixture(scope="module")
def tagger(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return add_token_classifier(tiny_model, tmp_path_factory.mktemp("model") / "tagger", LABELS)


@pytest.fixture(scope="module")
def reader(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return add_question_answering(tiny_model, tmp_path_factory.mktemp("model") / "reader")


@pytest.fixture
def asked(tmp_path: Path) -> Callable[..., Request]:
    """A request for a corpus of pairs; ``pairs=False`` leaves the pair column out."""
    corpus = tmp_path / "c.jsonl"
    corpus.write_text('{"text": "who turns it?", "pair": "the river turns it"}\n')

    def make(model: Path, *, pairs: bool = True, **options: Any) -> Request:
        columns = CorpusOptions(pair_column="pair" if pairs else None)
        given: dict[str, Any] = {"dtype": Dtype.FLOAT32, "batch_documents": 64, **options}
        return Request((str(corpus),), model=str(model), corpus=columns, **given)

    return make


def refused(wanted: type[PenstockError], request: Request) -> str:
    with pytest.raises(wanted) as caught:
        make_spec(request)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_spans_alone_bring_no_embedding(asked: Callable[..., Request], tagger: Path) -> None:
    (feature,) = make_spec(asked(tagger, pairs=False, spans=AskedSpans(("self",)))).features
    assert feature.columns == ("spans",)
    assert feature.options == SpansOptions(LABELS, Aggregation.SIMPLE)


def test_several_token_classifiers_have_columns_of_their_own(
    asked: Callable[..., Request], tiny_model: Path, tagger: Path
) -> None:
    spans = AskedSpans((str(tagger), f"names={tagger}"), Aggregation.MAX)
    spec = make_spec(asked(tiny_model, pairs=False, embed=("mean",), spans=spans))
    assert [feature.columns for feature in spec.features] == [("embedding",), ("spans",), ("names_spans",)]
    assert from_json(to_json(spec)) == spec


def test_an_answer_has_its_place_and_two_scores(asked: Callable[..., Request], reader: Path) -> None:
    spec = make_spec(asked(reader, answers=AskedAnswers(("qa=self",), stride=12, max_answer_tokens=9)))
    (feature,) = spec.features
    assert feature.columns == (
        *("qa_answer", "qa_answer_score", "qa_answer_begin", "qa_answer_end", "qa_no_answer_score"),
    )
    assert feature.options == AnswerOptions(stride=12, max_answer_tokens=9)
    assert from_json(to_json(spec)) == spec
    defaults = make_spec(asked(reader, answers=AskedAnswers(("self",)))).features[0]
    assert defaults.options == AnswerOptions(stride=128, max_answer_tokens=30)
    plain, always = (
        make_spec(asked(reader, answers=AskedAnswers(("self",), always=always))) for always in (False, True)
    )
    assert "always" not in json.dumps(to_json(plain)), "fingerprints of before there was this option"
    assert plain.fingerprint() != always.fingerprint()
    assert from_json(to_json(always)) == always


def test_the_labels_of_a_token_classifier_change_no_digest(tiny_model: Path, tagger: Path, reader: Path) -> None:
    """They are in the feature's options: what was pinned before there were spans is still the same checkpoint."""
    assert find(str(tagger)).labels == find(str(reader)).labels == ()
    assert find(str(tagger)).encoder_digest == find(str(tiny_model)).encoder_digest


def test_a_model_without_the_head_is_refused_naming_what_it_has(
    asked: Callable[..., Request], tiny_model: Path, tiny_classifier: Path, tagger: Path, reader: Path
) -> None:
    message = refused(InputError, asked(tiny_model, pairs=False, spans=AskedSpans(("self",))))
    assert f"{tiny_model} has no token classifier head" in message
    message = refused(InputError, asked(tiny_classifier, pairs=False, spans=AskedSpans(("self",))))
    assert "a sequence classifier head of 3 outputs" in message
    message = refused(InputError, asked(tiny_model, pairs=False, spans=AskedSpans((str(reader),))))
    assert "a question answering head" in message
    message = refused(InputError, asked(tagger, answers=AskedAnswers(("self",))))
    assert f"{tagger} has no question answering head" in message
    assert "a token classifier head of 3 outputs" in message
    message = refused(InputError, asked(tagger, pairs=False, classify=("self",)))
    assert "has no classifier" in message


@pytest.mark.parametrize(
    ("options", "pairs", "wanted"),
    [
        ({"spans": AskedSpans(("self",))}, True, "--spans cannot be had with --pair-column"),
        ({"spans": AskedSpans((), Aggregation.MAX)}, False, "--aggregation is about spans"),
        ({"spans": AskedSpans(("self", "self"))}, False, "Two token classifiers have no name"),
        ({"spans": AskedSpans(("Ner=self",))}, False, "--spans Ner=self: 'Ner' is no name"),
        ({"answers": AskedAnswers(("self",))}, False, "--answer needs a question and a context"),
        ({"answers": AskedAnswers((), 12)}, True, "--max-answer-tokens is given, but no --answer"),
        ({"answers": AskedAnswers(always=True)}, True, "--always-answer is given, but no --answer"),
        ({"answers": AskedAnswers(("self", "self"))}, True, "Two question answering models have no name"),
        ({"answers": AskedAnswers(("self",), stride=65)}, True, "--stride 65 is more than windows of 128"),
        ({"answers": AskedAnswers(("self",)), "long": LongTexts(Long.WINDOW)}, True, "would tear the pair"),
    ],
)
def test_contradictions_are_refused(
    asked: Callable[..., Request], tagger: Path, reader: Path, options: dict[str, Any], pairs: bool, wanted: str
) -> None:
    model = reader if "answers" in options else tagger
    assert wanted in refused(UsageError, asked(model, pairs=pairs, **options))


def test_labels_that_are_missing_are_refused(asked: Callable[..., Request], tagger: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tagger, tmp_path / "two")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"id2label": {"0": "O", "1": "B-PER"}}))
    message = refused(InputError, asked(folder, pairs=False, spans=AskedSpans(("self",))))
    assert "2 names in id2label, wanted 0 to 2" in message


def test_means_of_many_classes_are_had_in_smaller_batches(tagger: Path) -> None:
    model, labels = find(str(tagger)), tuple(map(str, range(1000)))
    spec = {
        aggregation: RunSpec(
            CorpusSpec(()), model, (spans_feature(model, None, SpansOptions(labels, aggregation)),),
            128, Dtype.FLOAT32, 64,
        )
        for aggregation in (Aggregation.MAX, Aggregation.AVERAGE)
    }  # fmt: skip
    assert spec[Aggregation.MAX].max_batch_text_bytes == MAX_BATCH_TEXT_BYTES
    assert spec[Aggregation.AVERAGE].max_batch_text_bytes < 2**20
