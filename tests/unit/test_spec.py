"""The spec travels as JSON; its fingerprint is about results, not about places."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.spec import (
    CorpusSpec,
    Dtype,
    EmbeddingOptions,
    FeatureKind,
    FeatureSpec,
    Format,
    KeptColumn,
    LabelsOptions,
    Long,
    LongTexts,
    ModelRef,
    MultiLabelsOptions,
    Pooling,
    RegressionOptions,
    RunSpec,
    Shard,
    Storage,
    ZeroShotOptions,
    arrow_type,
    arrow_type_name,
    canonical_json,
    embedding_feature,
    from_json,
    labels_feature,
    multi_labels_feature,
    to_json,
)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
texts = st.lists(text, max_size=3).map(tuple)
shards = st.builds(Shard, text, text, st.sampled_from(Format), text, st.integers(0), st.integers(0))
kept = st.builds(KeptColumn, text, st.sampled_from(["json", "string", "int64"]), text)
corpora = st.builds(
    CorpusSpec,
    st.lists(shards, max_size=3).map(tuple),
    texts,
    st.none() | text,
    st.none() | text,
    st.lists(kept, max_size=2).map(tuple),
    st.booleans(),
    st.booleans(),
    text,
    st.none() | st.integers(0),
)
models = st.builds(ModelRef, text, text, text, text, text, text, text, st.integers(), st.integers(), texts)
numbers = st.floats(allow_nan=False, allow_infinity=False)
embeddings = st.builds(
    EmbeddingOptions,
    st.sampled_from(Pooling),
    st.lists(st.integers(), max_size=3).map(tuple),
    st.lists(numbers, max_size=3).map(tuple),
    st.none() | st.integers(1),
    st.booleans(),
    st.sampled_from(Storage),
)
options = st.one_of(
    st.tuples(st.just(FeatureKind.EMBEDDING), embeddings),
    st.tuples(st.just(FeatureKind.LABELS), st.builds(LabelsOptions, st.integers(0))),
    st.tuples(st.just(FeatureKind.MULTI_LABELS), st.builds(MultiLabelsOptions, st.lists(numbers).map(tuple))),
    st.tuples(st.just(FeatureKind.REGRESSION), st.just(RegressionOptions())),
)
features = st.builds(
    lambda chosen, model, columns: FeatureSpec(chosen[0], model, columns, chosen[1]), options, models, texts
)
specs = st.builds(
    RunSpec,
    corpora,
    models,
    st.lists(features, max_size=3).map(tuple),
    st.integers(),
    st.sampled_from(Dtype),
    st.integers(),
    text,
    st.booleans(),
    st.builds(LongTexts, st.sampled_from(Long), st.integers(0)),
)

MODEL = ModelRef("m", "/m", "r1", "roberta", "d" * 64, "e" * 64, "f" * 64, 4, 512, ("no", "yes"))
SHARD = Shard("/data/a.jsonl", "a.jsonl", Format.JSONL, "none", 10, 20)
SPEC = RunSpec(
    corpus=CorpusSpec((SHARD,), keep=(KeptColumn("stars", "double", "stars"),)),
    model=MODEL,
    features=(embedding_feature(MODEL, Pooling.MEAN), labels_feature(MODEL, "mood")),
    max_tokens=512,
    dtype=Dtype.FLOAT32,
    batch_documents=8,
)


@given(specs)
@settings(deadline=None)
def test_a_spec_comes_back_from_json_whole(spec: RunSpec) -> None:
    back = from_json(json.loads(json.dumps(to_json(spec))))
    assert back == spec
    assert hash(back) == hash(spec)
    assert back.fingerprint() == spec.fingerprint()


def with_corpus(**changes: Any) -> RunSpec:
    return dataclasses.replace(SPEC, corpus=dataclasses.replace(SPEC.corpus, **changes))


def with_shard(**changes: Any) -> RunSpec:
    return with_corpus(shards=(dataclasses.replace(SHARD, **changes),))


def with_model(**changes: Any) -> RunSpec:
    model = dataclasses.replace(MODEL, **changes)
    moved = tuple(dataclasses.replace(feature, model=model) for feature in SPEC.features)
    return dataclasses.replace(SPEC, model=model, features=moved)


@pytest.mark.parametrize(
    "moved",
    [
        with_shard(uri="/elsewhere/a.jsonl"),
        with_shard(size=11),
        with_shard(mtime_ns=21),
        with_shard(compression="gzip"),
        with_model(path="/elsewhere"),
        with_model(source="./m"),
        with_model(revision="r2"),
    ],
)
def test_places_and_dates_are_no_part_of_the_fingerprint(moved: RunSpec) -> None:
    assert moved != SPEC
    assert moved.fingerprint() == SPEC.fingerprint()


@pytest.mark.parametrize(
    "changed",
    [
        with_shard(name="b.jsonl"),
        with_shard(format=Format.TEXT),
        with_corpus(shards=(SHARD, SHARD)),
        with_corpus(text_columns=("text", "title")),
        with_corpus(pair_column="other"),
        with_corpus(id_column=None),
        with_corpus(keep=()),
        with_corpus(keep=(KeptColumn("stars", "int64", "stars"),)),
        with_corpus(header=False),
        with_corpus(whole_files=True),
        with_corpus(encoding="latin-1"),
        with_corpus(limit=5),
        with_model(digest="0" * 64),
        with_model(tokenizer_digest="0" * 64),
        with_model(labels=("yes", "no")),
        dataclasses.replace(SPEC, features=SPEC.features[:1]),
        dataclasses.replace(SPEC, features=SPEC.features[::-1]),
        dataclasses.replace(SPEC, features=(embedding_feature(MODEL, Pooling.CLS), SPEC.features[1])),
        dataclasses.replace(SPEC, max_tokens=256),
        dataclasses.replace(SPEC, dtype=Dtype.BFLOAT16),
        dataclasses.replace(SPEC, batch_documents=9),
        dataclasses.replace(SPEC, prefix="query: "),
        dataclasses.replace(SPEC, long=LongTexts(Long.WINDOW)),
        dataclasses.replace(SPEC, long=LongTexts(Long.ERROR)),
        *(
            dataclasses.replace(SPEC, features=(embedding_feature(MODEL, options), SPEC.features[1]))
            for options in (
                EmbeddingOptions(layers=(2,)),
                EmbeddingOptions(weights=(0.5,)),
                EmbeddingOptions(dimensions=2),
                EmbeddingOptions(normalize=True),
                EmbeddingOptions(storage=Storage.FLOAT16),
            )
        ),
    ],
)
def test_whatever_changes_the_dataset_changes_the_fingerprint(changed: RunSpec) -> None:
    assert changed.fingerprint() != SPEC.fingerprint()


def test_a_feature_is_the_same_on_another_corpus_and_in_other_company() -> None:
    feature = SPEC.features[0]
    wanted = SPEC.feature_fingerprint(feature)
    others = [
        with_corpus(limit=5, keep=()),
        with_shard(name="b"),
        dataclasses.replace(SPEC, batch_documents=9),
        dataclasses.replace(SPEC, features=(feature,)),
    ]
    assert {other.feature_fingerprint(feature) for other in others} == {wanted}
    several = embedding_feature(MODEL, Pooling.MEAN, name="mean")
    assert several.columns != feature.columns
    assert SPEC.feature_fingerprint(several) == wanted


def test_a_feature_is_another_one_with_another_model_pooling_dtype_length_or_prefix() -> None:
    feature = SPEC.features[0]
    digests = {
        SPEC.feature_fingerprint(feature),
        SPEC.feature_fingerprint(SPEC.features[1]),
        SPEC.feature_fingerprint(embedding_feature(MODEL, Pooling.CLS)),
        SPEC.feature_fingerprint(dataclasses.replace(feature, model=dataclasses.replace(MODEL, digest="0" * 64))),
        SPEC.feature_fingerprint(
            dataclasses.replace(feature, model=dataclasses.replace(MODEL, tokenizer_digest="0" * 64))
        ),
        dataclasses.replace(SPEC, dtype=Dtype.BFLOAT16).feature_fingerprint(feature),
        dataclasses.replace(SPEC, max_tokens=9).feature_fingerprint(feature),
        dataclasses.replace(SPEC, prefix="q").feature_fingerprint(feature),
    }
    assert len(digests) == 8


def test_the_columns_of_a_dataset_in_order() -> None:
    assert SPEC.column_names == (
        *("id", "embedding", "mood_label", "mood_score", "mood_scores"),
        *("n_tokens", "n_used", "input_digest", "stars"),
    )
    assert embedding_feature(MODEL, Pooling.MAX, name="max").columns == ("embedding_max",)
    assert labels_feature(MODEL, None).columns == ("label", "score", "scores")


@pytest.mark.parametrize("damage", [{}, {"max_tokens": 5}, {**to_json(SPEC), "dtype": "float8"}])
def test_what_is_no_spec_is_refused(damage: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        from_json(damage)


TYPES = [
    *(pa.int8(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.bool_(), pa.string(), pa.large_string()),
    *(pa.binary(), pa.binary(4), pa.date32(), pa.date64(), pa.time32("s"), pa.time64("ns"), pa.null()),
    *(pa.timestamp("ns"), pa.timestamp("us", "Europe/Paris"), pa.duration("ms"), pa.decimal128(9, 2)),
    *(pa.list_(pa.int64()), pa.list_(pa.float32(), 3), pa.struct([("x", pa.int32())]), pa.map_(pa.string(), pa.int8())),
]


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_every_arrow_type_has_a_name_that_survives_json(dtype: pa.DataType) -> None:
    name = json.loads(json.dumps(arrow_type_name(dtype)))
    assert arrow_type(name) == dtype


@pytest.mark.parametrize("name", ["int65", "", "text"])
def test_a_name_of_no_type_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="No type alias"):
        arrow_type(name)


def test_json_columns_are_stored_as_text() -> None:
    assert KeptColumn("meta", "json", "info").field == pa.field("info", pa.string())


def test_canonical_json_does_not_depend_on_order_or_escapes() -> None:
    assert canonical_json({"b": 1, "a": "é"}) == canonical_json({"a": "é", "b": 1}) == '{"a":"é","b":1}'.encode()


def test_the_labels_of_a_feature_are_those_that_its_scores_are_of() -> None:
    assert labels_feature(MODEL, None).labels == ("no", "yes")
    assert multi_labels_feature(MODEL, None, MultiLabelsOptions((0.5, 0.5))).labels == ("no", "yes")
    asked = ZeroShotOptions(labels=("sports", "politics"))
    assert FeatureSpec(FeatureKind.ZERO_SHOT, MODEL, ("a", "b", "c"), asked).labels == ("sports", "politics")
    assert embedding_feature(MODEL, Pooling.MEAN).labels == ()
