"""Embeddings of any layers, forms and windows are what plain transformers gives, computed here by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import torch
from parity.conftest import documents

from pipelines.assembly import Extracted
from pipelines.documents import Batch
from pipelines.errors import InputError
from pipelines.extract import Extractor
from pipelines.features.vectors import dequantize
from pipelines.opening.embeddings import VectorForm, embedding_features
from pipelines.roberta.checkpoint import find
from pipelines.spec import CorpusSpec, Dtype, FeatureSpec, Long, LongTexts, Pooling, RunSpec, Storage

TOLERANCE = 1e-5
ASKED = (
    "last=mean",
    "before=mean@-2",
    "words=cls@0",
    "both=max@-2..-1",
    "some=mean@0,2",
    "heavy=mean@-1:0.75,1:-0.5",
    "each=mean@all",
)


@pytest.fixture(scope="module", params=[(3, 48, 4), (2, 64, 2)], ids=["3x48", "2x64"])
def encoder(
    request: pytest.FixtureRequest,
    make_model: Callable[..., Path],
    texts: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    layers, hidden, heads = request.param
    folder = tmp_path_factory.mktemp("shapes") / "model"
    sizes = {"layers": layers, "hidden_size": hidden, "heads": heads, "intermediate": 3 * hidden}
    return make_model(texts, folder, vocab_size=600, max_positions=130, **sizes)


def extract(
    folder: Path, texts: list[str], asked: tuple[str, ...], form: VectorForm | None = None, **options: Any
) -> tuple[Extracted, tuple[FeatureSpec, ...]]:
    model = find(str(folder))
    layers = 3 if model.hidden_size == 48 else 2
    features = embedding_features(asked, model, form or VectorForm(), layers=layers)
    spec = RunSpec(CorpusSpec(()), model, features, options.pop("max_tokens", 100), Dtype.FLOAT32, 512, **options)
    return Extractor(spec, token_budget=700).extract(Batch(0, 0, list(documents(texts)))), features


def hidden_states(oracle: Any, text: str) -> list[npt.NDArray[np.float32]]:
    """*Shape:* ``[layers + 1][tokens, hidden]``."""
    with torch.inference_mode():
        output = oracle.encoder(input_ids=torch.tensor([oracle.ids(text)]), output_hidden_states=True)
    return [state[0].numpy() for state in output.hidden_states]


def test_every_layer_and_every_mix_of_them(
    encoder: Path, odd_texts: Callable[[str], list[str]], oracle: Callable[..., Any]
) -> None:
    subjects, truth = odd_texts("roberta"), oracle(encoder, max_tokens=100)
    result, features = extract(encoder, subjects, ASKED)
    assert result.rejects == []
    columns = [feature.columns[0] for feature in features]
    layers = len(columns) - len(ASKED)  # of "each" there is one column for each layer, and one for the embeddings
    assert columns[-layers - 1 :] == [f"embedding_each_{number}" for number in range(layers + 1)]
    found = {column: dequantize(result.table, column) for column in columns}
    for number, text in enumerate(subjects):
        states = hidden_states(truth, text)
        wanted = {
            "last": states[-1].mean(axis=0),
            "before": states[-2].mean(axis=0),
            "words": states[0][0],
            "both": ((states[-2] + states[-1]) / 2).max(axis=0),
            "some": ((states[0] + states[2]) / 2).mean(axis=0),
            "heavy": (0.75 * states[-1] - 0.5 * states[1]).mean(axis=0),
            **{f"each_{layer}": state.mean(axis=0) for layer, state in enumerate(states)},
        }
        assert len(wanted) == len(columns)
        for name, vector in wanted.items():
            assert np.abs(found[f"embedding_{name}"][number] - vector).max() <= TOLERANCE, (name, text)


@pytest.mark.parametrize("storage", list(Storage))
def test_a_form_is_the_vector_again_as_far_as_it_goes(encoder: Path, texts: list[str], storage: Storage) -> None:
    plain, _ = extract(encoder, texts[:40], ("mean",))
    stored, (feature,) = extract(encoder, texts[:40], ("mean",), VectorForm(32, normalize=True, storage=storage))
    assert stored.table.column_names[1 : 1 + len(feature.columns)] == list(feature.columns)
    wanted = dequantize(plain.table)[:, :32]
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    found = dequantize(stored.table)
    if storage is Storage.BINARY:
        assert stored.table["embedding"].type == pa.list_(pa.uint8(), 4)
        np.testing.assert_array_equal(found, np.where(wanted > 0, 1, -1))
        return
    largest = np.abs(wanted).max(axis=1, keepdims=True)
    allowed = {Storage.FLOAT32: 1e-6, Storage.FLOAT16: 2.0**-11, Storage.INT8: 0.51 / 127}[storage]
    assert (np.abs(found - wanted) / largest).max() <= allowed


def test_ranges_are_of_each_row_and_stored_with_it(encoder: Path, texts: list[str]) -> None:
    result, _ = extract(encoder, texts[:8], ("a=mean", "b=cls"), VectorForm(storage=Storage.INT8))
    assert result.table.schema.field("embedding_a").type.value_type == pa.int8()
    whole = dequantize(result.table, "embedding_b")
    np.testing.assert_array_equal(dequantize(result.table.slice(5, 1), "embedding_b"), whole[5:6])


@pytest.mark.parametrize(
    ("column", "dropped", "said"),
    [
        (
            "embedding",
            [],
            r"no column 'embedding'\. .* embedding_a, embedding_b: name one, dequantize\(table, 'embedding_a'",
        ),
        ("n_tokens", [], r"'n_tokens' is of type int32, wanted lists of one size\. .* embedding_a, embedding_b"),
        ("embedding_b", ["embedding_b_scale"], r"no column 'embedding_b_scale', the scales of its int8\. Read that"),
        ("embedding", ["embedding_a", "embedding_b"], r"No column has any, there are: id, embedding_a_scale, "),
    ],
)
def test_a_column_without_vectors_is_refused_with_those_that_have_some(
    column: str, dropped: list[str], said: str, encoder: Path, texts: list[str]
) -> None:
    result, _ = extract(encoder, texts[:2], ("a=mean", "b=cls"), VectorForm(storage=Storage.INT8))
    table = result.table.drop_columns(dropped)
    for rows in (table, table.to_batches()[0]):
        with pytest.raises(InputError, match=said):
            dequantize(rows, column)


@pytest.mark.parametrize("stride", [0, 7])
def test_a_long_document_is_its_windows_weighed_by_their_tokens(
    encoder: Path, odd_texts: Callable[[str], list[str]], oracle: Callable[..., Any], stride: int
) -> None:
    subjects, truth = odd_texts("roberta"), oracle(encoder)
    asked = tuple(str(pooling) for pooling in Pooling)
    result, _ = extract(encoder, subjects, asked, max_tokens=40, long=LongTexts(Long.WINDOW, stride))
    found = {name: dequantize(result.table, f"embedding_{name}") for name in asked}
    counts = result.table["n_windows"].to_pylist()
    assert max(counts) > 5
    assert result.truncated == 0
    for number, text in enumerate(subjects):
        rows = truth.tokenizer(text, truncation=True, max_length=40, stride=stride, return_overflowing_tokens=True)[
            "input_ids"
        ]
        assert counts[number] == len(rows)
        with torch.inference_mode():
            states = [truth.encoder(input_ids=torch.tensor([row])).last_hidden_state[0].numpy() for row in rows]
        weights = [len(row) for row in rows]
        wanted = {
            "mean": np.average([state.mean(axis=0) for state in states], axis=0, weights=weights),
            "cls": np.average([state[0] for state in states], axis=0, weights=weights),
            "max": np.max([state.max(axis=0) for state in states], axis=0),
        }
        for name, vector in wanted.items():
            assert np.abs(found[name][number] - vector).max() <= TOLERANCE, (name, text)


def test_too_long_documents_can_be_set_aside(encoder: Path, texts: list[str]) -> None:
    result, _ = extract(encoder, ["short", " ".join(texts[:9])], ("mean",), max_tokens=40, long=LongTexts(Long.ERROR))
    assert result.table["id"].to_pylist() == ["0"]
    (reject,) = result.rejects
    assert (reject.id, reject.reason) == ("1", "too_long")
    assert "40 are allowed" in reject.detail
