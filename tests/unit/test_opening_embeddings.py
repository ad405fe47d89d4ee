"""``--embed``: what is asked for, under which name, and what nobody can compute."""

from __future__ import annotations

import pytest

from pipelines.errors import UsageError
from pipelines.opening.embeddings import VectorForm, embedding_features
from pipelines.spec import EmbeddingOptions, ModelRef, Pooling, Storage

MODEL = ModelRef("m", "/m", "", "roberta", "d" * 64, "e" * 64, "f" * 64, 20, 512)
MEAN, CLS, MAX = Pooling.MEAN, Pooling.CLS, Pooling.MAX


def columns(*asked: str, form: VectorForm | None = None) -> dict[str, EmbeddingOptions]:
    features = embedding_features(asked, MODEL, form or VectorForm(), layers=4)
    return {
        feature.columns[0]: feature.options for feature in features if isinstance(feature.options, EmbeddingOptions)
    }


def test_one_embedding_has_the_plain_column() -> None:
    assert columns("cls") == {"embedding": EmbeddingOptions(CLS)}
    assert columns("mean", "mean") == {"embedding": EmbeddingOptions(MEAN)}
    assert columns("mean@-2") == {"embedding": EmbeddingOptions(MEAN, (3,))}
    assert columns("query=mean") == {"embedding_query": EmbeddingOptions(MEAN)}


def test_several_are_named_by_what_they_are() -> None:
    assert columns("mean", "max@0", "cls@1..3", "mean@-1") == {
        "embedding_mean": EmbeddingOptions(MEAN),
        "embedding_max_0": EmbeddingOptions(MAX, (0,)),
        "embedding_cls_1_3": EmbeddingOptions(CLS, (1, 2, 3)),
        "embedding_mean_4": EmbeddingOptions(MEAN),
    }


def test_the_last_layer_is_the_same_however_it_is_called() -> None:
    assert columns("mean@4") == columns("mean@-1") == columns("mean")


def test_every_layer_is_a_column() -> None:
    assert list(columns("mean@all")) == [f"embedding_mean_{number}" for number in range(5)]
    assert list(columns("x=cls@all", "mean"))[-2:] == ["embedding_x_4", "embedding_mean"]


def test_weights_belong_to_their_layers() -> None:
    assert columns("w=mean@-1:0.5,1:-2") == {"embedding_w": EmbeddingOptions(MEAN, (-1, 1), (0.5, -2.0))}


def test_the_form_holds_for_all() -> None:
    form = VectorForm(8, normalize=True, storage=Storage.INT8)
    (feature,) = embedding_features(("mean",), MODEL, form, layers=4)
    assert feature.columns == ("embedding", "embedding_scale")
    assert feature.options == EmbeddingOptions(dimensions=8, normalize=True, storage=Storage.INT8)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("median", "no embedding"),
        ("", "no embedding"),
        ("mean@", "is no layer"),
        ("mean@5", "there is no layer 5, the model has 4"),
        ("mean@-6", "there is no layer -6"),
        ("mean@x", "is no layer"),
        ("mean@3..1", "are none"),
        ("mean@1,1", "names a layer twice"),
        ("w=mean@1:0.5,2", "not every layer has a weight"),
        ("w=mean@1:", "not every layer has a weight"),
        ("w=mean@1:nan", "not every layer has a weight"),
        ("mean@0,2", "has no name"),
        ("mean@1:0.5", "has no name"),
        ("Big=mean", "is no name"),
        ("=mean", "is no name"),
        ("a=b=mean", "is no"),
    ],
)
def test_what_nobody_can_compute_is_refused(asked: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        columns(asked)
    assert "\n" not in str(caught.value)


def test_a_form_that_vectors_cannot_have_is_refused() -> None:
    with pytest.raises(UsageError, match="more than the 20"):
        columns("mean", form=VectorForm(21))
    with pytest.raises(UsageError, match="Add --dimensions 16"):
        columns("mean", form=VectorForm(storage=Storage.BINARY))
