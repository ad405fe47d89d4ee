"""``--embed auto``: the embedding that a folder of sentence-transformers asks for, and what it cannot ask for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from parity.conftest import documents
from safetensors.torch import save_file

from pipelines.documents import Batch
from pipelines.errors import InputError, RunError, UsageError
from pipelines.extract import Extractor
from pipelines.features.vectors import dequantize
from pipelines.opening.embeddings import VectorForm, embedding_features, sentence_limit
from pipelines.roberta.checkpoint import find
from pipelines.spec import CorpusSpec, Dtype, FeatureSpec, RunSpec, from_json, to_json

TOLERANCE = 1e-5
MODELS = "sentence_transformers.models"
OUTPUTS = 24


def write_modules(folder: Path, *kinds: str, pooling: dict[str, Any] | None = None) -> Path:
    """``modules.json`` and what it names, as sentence-transformers saves it."""
    modules = [{"idx": 0, "name": "0", "path": "", "type": f"{MODELS}.Transformer"}]
    for number, kind in enumerate(("Pooling", *kinds), start=1):
        path = f"{number}_{kind}"
        modules.append({"idx": number, "name": str(number), "path": path, "type": f"{MODELS}.{kind}"})
        (folder / path).mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps(pooling or {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True})
    )
    (folder / "modules.json").write_text(json.dumps(modules))
    limits = {"max_seq_length": 48, "do_lower_case": False}
    (folder / "sentence_bert_config.json").write_text(json.dumps(limits))
    return folder


def write_dense(folder: Path, place: str, inputs: int, activation: str) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(5)
    weight, bias = torch.randn(OUTPUTS, inputs) / inputs**0.5, torch.randn(OUTPUTS)
    config = {"in_features": inputs, "out_features": OUTPUTS, "bias": True, "activation_function": activation}
    (folder / place / "config.json").write_text(json.dumps(config))
    save_file({"linear.weight": weight, "linear.bias": bias}, folder / place / "model.safetensors")
    return weight, bias


@pytest.fixture
def folder(checkpoints: dict[str, tuple[Path, Path]], tmp_path: Path) -> Path:
    copy = tmp_path / "sentences"
    shutil.copytree(checkpoints["roberta"][0], copy)
    return copy


def auto(folder: Path, *asked: str, form: VectorForm | None = None) -> tuple[FeatureSpec, ...]:
    return embedding_features(asked or ("auto",), find(str(folder)), form or VectorForm(), layers=2)


def extract(folder: Path, features: tuple[FeatureSpec, ...], texts: list[str]) -> Any:
    spec = RunSpec(CorpusSpec(()), find(str(folder)), features, 48, Dtype.FLOAT32, 512)
    assert from_json(json.loads(json.dumps(to_json(spec)))) == spec
    return Extractor(spec, token_budget=700).extract(Batch(0, 0, list(documents(texts)))).table


@pytest.mark.parametrize("activation", ["Tanh", "GELU", "ReLU", "Sigmoid", "linear.Identity"])
def test_pooling_dense_layer_and_length_are_the_folder_s(
    folder: Path, odd_texts: Callable[[str], list[str]], oracle: Callable[..., Any], activation: str
) -> None:
    write_modules(folder, "Dense", "Normalize")
    hidden = find(str(folder)).hidden_size
    weight, bias = write_dense(folder, "2_Dense", hidden, f"torch.nn.modules.activation.{activation}")
    (feature,) = auto(folder)
    assert sentence_limit(("auto",), find(str(folder))) == 48
    subjects, truth = odd_texts("roberta"), oracle(folder, max_tokens=48)
    found = dequantize(extract(folder, (feature,), subjects))
    function = getattr(torch.nn, activation.rpartition(".")[2])()
    for number, text in enumerate(subjects):
        pooled = torch.from_numpy(truth.hidden(text).mean(axis=0))
        wanted = torch.nn.functional.normalize(function(weight @ pooled + bias), dim=0).numpy()
        assert np.abs(found[number] - wanted).max() <= TOLERANCE, text


@pytest.mark.parametrize("mode", ["cls_token", "max_tokens", "mean_tokens"])
def test_it_is_what_sentence_transformers_gives(folder: Path, texts: list[str], mode: str) -> None:
    library = pytest.importorskip("sentence_transformers", reason="sentence-transformers is in the extra 'bench'")
    hidden = find(str(folder)).hidden_size
    pooling = {"word_embedding_dimension": hidden, "pooling_mode_mean_tokens": False, f"pooling_mode_{mode}": True}
    write_modules(folder, "Dense", "Normalize", pooling=pooling)
    write_dense(folder, "2_Dense", hidden, "torch.nn.modules.activation.Tanh")
    wanted = library.SentenceTransformer(str(folder), device="cpu").encode(texts[:60])
    assert np.abs(dequantize(extract(folder, auto(folder), texts[:60])) - wanted).max() <= TOLERANCE


def test_it_goes_with_other_embeddings_and_forms(folder: Path, texts: list[str]) -> None:
    write_modules(folder, "Normalize")
    plain, cut = auto(folder, "auto", "cls"), auto(folder, "x=auto", form=VectorForm(8))
    assert [feature.columns for feature in plain] == [("embedding_auto",), ("embedding_cls",)]
    table = extract(folder, (*plain, *cut), texts[:5])
    short, whole = dequantize(table, "embedding_x"), dequantize(table, "embedding_auto")
    np.testing.assert_allclose(np.linalg.norm(short, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(short * np.linalg.norm(whole[:, :8], axis=1, keepdims=True), whole[:, :8], atol=1e-6)
    assert np.linalg.norm(dequantize(table, "embedding_cls"), axis=1).min() > 1.5


def test_another_layer_than_the_pinned_one_is_refused(folder: Path, texts: list[str]) -> None:
    write_modules(folder, "Dense")
    write_dense(folder, "2_Dense", find(str(folder)).hidden_size, "torch.nn.modules.activation.Tanh")
    features = auto(folder)
    save_file(
        {"linear.weight": torch.zeros(OUTPUTS, find(str(folder)).hidden_size)}, folder / "2_Dense" / "model.safetensors"
    )
    with pytest.raises(RunError, match="not hold the layer"):
        extract(folder, features, texts[:1])


def test_what_it_cannot_ask_for_is_refused(folder: Path) -> None:
    def refused(message: str) -> None:
        with pytest.raises(InputError, match=message) as caught:
            auto(folder)
        assert "\n" not in str(caught.value)

    refused("has no modules.json")
    write_modules(folder, "Normalize", pooling={"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True})
    refused("pools by mean, cls")
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_lasttoken": True}))
    refused("pools by lasttoken")
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "mean"}))
    assert auto(folder)[0].columns == ("embedding",)
    (folder / "sentence_bert_config.json").write_text(json.dumps({"do_lower_case": True}))
    refused("lower case")
    (folder / "sentence_bert_config.json").unlink()
    modules = json.loads((folder / "modules.json").read_text())
    for changed, message in (
        ([*modules, {"path": "3_CNN", "type": "sentence_transformers.models.CNN"}], "module CNN"),
        (modules[:1], "is made of Transformer"),
        ([modules[0], {**modules[1], "path": "../elsewhere"}], "a folder of its own"),
        ({"a": 1}, "is no list"),
    ):
        (folder / "modules.json").write_text(json.dumps(changed))
        refused(message)
    (folder / "modules.json").write_text("[")
    refused("cannot be read")


def test_dense_layers_that_cannot_be_applied_are_refused(folder: Path) -> None:
    write_modules(folder, "Dense")
    hidden = find(str(folder)).hidden_size
    place = folder / "2_Dense"
    (place / "config.json").write_text(json.dumps({"activation_function": "torch.nn.Softmax"}))
    for prepare, message in (
        (lambda: None, "activation_function"),
        (lambda: (place / "config.json").write_text("{}"), "has no model.safetensors"),
        (lambda: (place / "model.safetensors").write_bytes(b"?"), "cannot be loaded"),
        (lambda: save_file({"w": torch.zeros(2, hidden)}, place / "model.safetensors"), "has no tensor"),
        (lambda: save_file({"linear.weight": torch.zeros(2, 7)}, place / "model.safetensors"), "takes vectors of 7"),
    ):
        prepare()
        with pytest.raises(InputError, match=message):
            auto(folder)
    write_dense(folder, "2_Dense", hidden, "torch.nn.Tanh")
    with pytest.raises(UsageError, match=f"more than the {OUTPUTS}"):
        auto(folder, form=VectorForm(OUTPUTS + 1))
