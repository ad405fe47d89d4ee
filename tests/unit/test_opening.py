"""From what a person asks for to a spec, or to one line that says what contradicts what."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.corpus import CorpusOptions, parse_keep
from pipelines.errors import InputError, PenstockError, UsageError
from pipelines.opening.request import DEFAULT_MAX_TOKENS, Request, make_spec
from pipelines.spec import Dtype, EmbeddingOptions, FeatureKind, Pooling


def request(path: Path, model: Path, **options: Any) -> Request:
    given: dict[str, Any] = {"corpus": CorpusOptions(), "dtype": Dtype.FLOAT32, "batch_documents": 64, **options}
    return Request((str(path),), model=str(model), **given)


def refused(wanted: type[PenstockError], asked: Request) -> str:
    with pytest.raises(wanted) as caught:
        make_spec(asked)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_a_feature_the_mean_embedding_is_made(small_corpus: Path, tiny_model: Path) -> None:
    spec = make_spec(request(small_corpus, tiny_model))
    (feature,) = spec.features
    assert feature.kind is FeatureKind.EMBEDDING
    assert (feature.options, feature.columns) == (EmbeddingOptions(Pooling.MEAN), ("embedding",))
    assert spec.model.path == str(tiny_model.resolve())
    assert spec.corpus.shards[0].uri == str(small_corpus)


def test_a_classifier_alone_brings_no_embedding(small_corpus: Path, tiny_classifier: Path) -> None:
    spec = make_spec(request(small_corpus, tiny_classifier, classify=("self",)))
    assert [feature.columns for feature in spec.features] == [("label", "score", "scores")]
    assert spec.features[0].model == spec.model
    assert spec.model.labels == ("calm", "busy", "loud")


def test_several_features_have_columns_of_their_own(
    small_corpus: Path, tiny_model: Path, tiny_classifier: Path
) -> None:
    asked = request(
        small_corpus,
        tiny_model,
        embed=(Pooling.MEAN, Pooling.CLS, Pooling.MEAN),
        classify=(str(tiny_classifier), f"mood={tiny_classifier}"),
    )
    assert make_spec(asked).column_names == (
        *("id", "embedding_mean", "embedding_cls", "label", "score", "scores"),
        *("mood_label", "mood_score", "mood_scores", "n_tokens", "n_used", "input_digest"),
    )


def test_a_folder_with_an_equals_sign_in_its_path_is_a_model(
    small_corpus: Path, tiny_model: Path, tiny_classifier: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "step=1"
    odd.symlink_to(tiny_classifier)
    spec = make_spec(request(small_corpus, tiny_model, classify=(str(odd),)))
    assert spec.features[0].columns[0] == "label"
    spec = make_spec(request(small_corpus, tiny_model, classify=(f"mood={odd}",)))
    assert spec.features[0].columns[0] == "mood_label"


def test_self_on_an_encoder_is_refused(small_corpus: Path, tiny_model: Path) -> None:
    message = refused(InputError, request(small_corpus, tiny_model, classify=("self",)))
    assert str(tiny_model) in message
    assert "has no classifier" in message


@pytest.mark.parametrize(
    ("classify", "wanted"),
    [
        (("self", "self"), "Two classifiers have no name"),
        (("mood=self", "mood=self"), "Two classifiers are named 'mood'"),
        (("Mood=self",), "'Mood' is no name for columns"),
        (("=self",), "'' is no name for columns"),
        (("1a=self",), "'1a' is no name for columns"),
        (("mood=",), "names no model"),
    ],
)
def test_classifiers_that_contradict_each_other_are_refused(
    small_corpus: Path, tiny_classifier: Path, classify: tuple[str, ...], wanted: str
) -> None:
    assert wanted in refused(UsageError, request(small_corpus, tiny_classifier, classify=classify))


@pytest.mark.parametrize(
    ("keep", "classify", "column"),
    [
        ("number=embedding", (), "embedding"),
        ("number=id", (), "id"),
        ("number=mood_label", ("mood=self",), "mood_label"),
    ],
)
def test_a_kept_column_may_not_take_the_name_of_another(
    small_corpus: Path, tiny_classifier: Path, keep: str, classify: tuple[str, ...], column: str
) -> None:
    options = CorpusOptions(keep=(parse_keep(keep),))
    asked = request(small_corpus, tiny_classifier, corpus=options, embed=(Pooling.MEAN,), classify=classify)
    message = refused(UsageError, asked)
    assert f"{column!r} more than once" in message


def test_max_tokens_is_what_the_tightest_model_takes(small_corpus: Path, tiny_model: Path) -> None:
    spec = make_spec(request(small_corpus, tiny_model))
    assert spec.max_tokens == spec.model.token_limit == 128 < DEFAULT_MAX_TOKENS
    assert make_spec(request(small_corpus, tiny_model, max_tokens=7)).max_tokens == 7
    assert make_spec(request(small_corpus, tiny_model, max_tokens=128)).max_tokens == 128
    assert "--max-tokens 129" in refused(UsageError, request(small_corpus, tiny_model, max_tokens=129))


@pytest.mark.parametrize(("pair", "fewest"), [(None, 3), ("pair", 5)])
def test_max_tokens_leaves_room_for_text(tmp_path: Path, tiny_model: Path, pair: str | None, fewest: int) -> None:
    corpus = tmp_path / "c.jsonl"
    corpus.write_text('{"text": "a", "pair": "b"}\n')
    asked = request(corpus, tiny_model, corpus=CorpusOptions(pair_column=pair), max_tokens=fewest)
    assert make_spec(asked).max_tokens == fewest
    message = refused(UsageError, replace(asked, max_tokens=fewest - 1))
    assert f"--max-tokens {fewest - 1} leaves no room" in message
    assert f"at least {fewest}" in message


@pytest.mark.parametrize("path", ["./nomodel", "../nomodel", "/x/y"])
def test_a_path_is_never_looked_for_on_the_hub(small_corpus: Path, tiny_model: Path, path: str) -> None:
    asked = replace(request(small_corpus, tiny_model), model=path)
    assert f"There is no model folder {path!r}" in refused(InputError, asked)


def test_what_is_not_there_is_named(small_corpus: Path, tiny_model: Path, tmp_path: Path) -> None:
    assert "absent.jsonl" in refused(InputError, request(tmp_path / "absent.jsonl", tiny_model))
    assert "absent" in refused(InputError, request(small_corpus, tmp_path / "absent"))
    options = CorpusOptions(text_columns=("body",))
    assert "body" in refused(InputError, request(small_corpus, tiny_model, corpus=options))


def test_dtype_must_be_resolved_before(small_corpus: Path, tiny_model: Path) -> None:
    with pytest.raises(ValueError, match="this is a bug"):
        make_spec(request(small_corpus, tiny_model, dtype=Dtype.AUTO))


def test_the_same_request_gives_the_same_spec(small_corpus: Path, tiny_model: Path) -> None:
    assert make_spec(request(small_corpus, tiny_model)) == make_spec(request(small_corpus, tiny_model))


def test_opening_loads_no_torch() -> None:
    code = "import sys, pipelines.opening; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
