"""A checkpoint is pinned whole, or refused in one line; never a traceback, whatever lies in the folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, CamembertConfig, RobertaConfig, XLMRobertaConfig

from pipelines.errors import InputError, RunError
from pipelines.roberta.checkpoint import described, find, verify
from pipelines.roberta.config import parse_config

WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


@pytest.fixture
def classifier(tiny_classifier: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_classifier, tmp_path / "classifier"))


def change_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= changes
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        find(str(folder))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_checkpoint_is_pinned(folder: Path, classifier: Path) -> None:
    model = find(str(folder))
    assert (model.model_type, model.hidden_size, model.token_limit, model.labels) == ("roberta", 64, 128, ())
    assert (model.source, model.path, model.revision) == (str(folder), str(folder), "")
    assert find(str(classifier)).labels == ("calm", "busy", "loud")
    assert described(model) == "an encoder with a pooler head"


def test_a_relative_path_is_pinned_as_an_absolute_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert find("model").path == str(folder)
    assert find("./model/").path == str(folder)


def test_checkpoints_that_share_an_encoder_share_its_digest(folder: Path, classifier: Path) -> None:
    bare, judge = find(str(folder)), find(str(classifier))
    assert bare.encoder_digest == judge.encoder_digest
    assert bare.tokenizer_digest == judge.tokenizer_digest
    assert bare.digest != judge.digest


ENCODER = {"digest", "encoder_digest"}
LEFTOVER = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        (lambda folder: change_weights(folder, _nudge("embeddings.word_embeddings.weight")), ENCODER),
        (lambda folder: change_weights(folder, _nudge("pooler.dense.bias")), {"digest"}),
        (lambda folder: change_config(folder, layer_norm_eps=1e-6), ENCODER),
        (lambda folder: change_config(folder, num_attention_heads=4), ENCODER),
        (lambda folder: change_config(folder, transformers_version="4.0", hidden_dropout_prob=0.3), set()),
        (lambda folder: _change_tokenizer(folder, "truncation", LEFTOVER), set()),
        (lambda folder: _change_tokenizer(folder, "normalizer", {"type": "Lowercase"}), {"tokenizer_digest"}),
    ],
    ids=["encoder tensor", "pooler tensor", "eps", "heads", "irrelevant config", "leftover truncation", "normalizer"],
)
def test_digests_change_with_what_they_cover_and_with_nothing_else(
    folder: Path, change: Callable[[Path], object], changed: set[str]
) -> None:
    before = find(str(folder))
    change(folder)
    after = find(str(folder))
    names = ("digest", "encoder_digest", "tokenizer_digest")
    assert {name for name in names if getattr(before, name) != getattr(after, name)} == changed
    if changed & {"digest", "tokenizer_digest"}:
        with pytest.raises(RunError, match="not those that the run was opened with"):
            verify(before)
    else:
        verify(before)


def _nudge(name: str) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda tensors: tensors[name].view(-1)[:1].add_(1.0)


def _change_tokenizer(folder: Path, key: str, value: Any) -> None:
    document = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(document | {key: value}))


def test_prefix_and_sharding_do_not_change_the_encoder(folder: Path) -> None:
    whole = find(str(folder))
    tensors = load_file(folder / WEIGHTS)
    renamed = {f"roberta.{name}".replace("LayerNorm.weight", "LayerNorm.gamma"): tensors[name] for name in tensors}
    shards = {"model-00001-of-00002.safetensors": dict(list(renamed.items())[::2])}
    shards["model-00002-of-00002.safetensors"] = {name: renamed[name] for name in list(renamed)[1::2]}
    for name, shard in shards.items():
        save_file(shard, folder / name)
    places = {tensor: name for name, shard in shards.items() for tensor in shard}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    (folder / WEIGHTS).unlink()
    sharded = find(str(folder))
    assert sharded.encoder_digest == whole.encoder_digest

    (folder / "model-00002-of-00002.safetensors").unlink()
    assert "model-00002-of-00002.safetensors cannot be read" in refusal(folder)
    places["encoder.layer.0.attention.self.query.weight"] = "../outside.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    assert "../outside.safetensors" in refusal(folder)


def test_other_architectures_are_refused_before_weights_are_looked_at(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    change_config(folder, model_type="bert")
    assert "'bert', wanted one of roberta, xlm-roberta, camembert" in refusal(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"auto_map": {"AutoModel": "own.Code"}}, "auto_map"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"is_decoder": True}, "decoder"),
        ({"position_embedding_type": "relative_key"}, "relative_key"),
        ({"hidden_act": "sparkle"}, "hidden_act"),
        ({"hidden_size": "64"}, "hidden_size '64'"),
        ({"hidden_size": 65}, "do not divide"),
        ({"num_hidden_layers": 3}, "lacks tensor 'encoder.layer.2."),
        ({"num_hidden_layers": 1}, "no RoBERTa has, 'encoder.layer.1."),
        ({"num_hidden_layers": 2**31}, "wanted a whole number"),
        ({"vocab_size": 601}, "config.json says [601, 64]"),
        ({"intermediate_size": 100}, "intermediate.dense.weight"),
        ({"max_position_embeddings": 3}, "too few for a text"),
        ({"layer_norm_eps": "small"}, "layer_norm_eps"),
        ({"pad_token_id": -1}, "pad_token_id"),
        ({"num_attention_heads": True}, "num_attention_heads"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_config_that_does_not_fit_is_refused(folder: Path, changes: dict[str, Any], words: str) -> None:
    change_config(folder, **changes)
    assert words in refusal(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensors: tensors.pop("embeddings.LayerNorm.bias"), "lacks tensor 'embeddings.LayerNorm.bias'"),
        (lambda tensors: tensors.update({"encoder.layer.0.attention.self.query.lora_A": torch.zeros(2)}), "lora_A"),
        (lambda tensors: tensors.update({"something.else": torch.zeros(2)}), "something.else"),
        (
            lambda tensors: tensors.update({"embeddings.LayerNorm.bias": torch.zeros(64, dtype=torch.int8)}),
            "of type I8",
        ),
        (lambda tensors: tensors.update({"roberta.embeddings.LayerNorm.bias": torch.zeros(64)}), "twice"),
    ],
    ids=["missing", "adapter", "unknown", "integers", "twice"],
)
def test_every_tensor_is_accounted_for(folder: Path, change: Callable[[Any], object], words: str) -> None:
    change_weights(folder, change)
    assert words in refusal(folder)


def test_buffers_of_old_checkpoints_are_harmless(folder: Path) -> None:
    before = find(str(folder))
    change_weights(folder, lambda tensors: tensors.update({"embeddings.position_ids": torch.arange(130)[None]}))
    assert find(str(folder)).encoder_digest == before.encoder_digest


def test_labels_need_a_classifier_and_names_that_fit(folder: Path, classifier: Path) -> None:
    change_config(folder, id2label={"0": "yes", "1": "no"})
    assert find(str(folder)).labels == ()
    change_config(classifier, id2label={"0": "yes", "1": "no"})
    assert "2 names in id2label, wanted 0 to 2" in refusal(classifier)
    change_config(classifier, id2label=None)
    assert find(str(classifier)).labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    change_weights(classifier, lambda tensors: tensors.update(_other_head("classifier.weight", "classifier.bias")))
    assert find(str(classifier)).labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    change_weights(classifier, lambda tensors: [tensors.pop(name) for name in list(tensors) if "out_proj" in name])
    assert find(str(classifier)).labels == ()


def _other_head(weight: str, bias: str) -> dict[str, torch.Tensor]:
    return {weight: torch.zeros(3, 64), bias: torch.zeros(3)}


def test_pickles_are_never_opened(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    assert "pickle" in refusal(folder)
    assert "save_pretrained" in refusal(folder)


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    assert "no model folder" in refusal(tmp_path / "nowhere" / "at" / "all")
    (folder / "tokenizer.json").rename(folder / "elsewhere.json")
    assert "has no tokenizer" in refusal(folder)
    (folder / WEIGHTS).unlink()
    assert f"no {WEIGHTS}" in refusal(folder)
    (folder / "config.json").unlink()
    assert "config.json cannot be read" in refusal(folder)
    assert "is a file" in refusal(folder / "elsewhere.json")


def test_a_tokenizer_of_another_model_is_refused(folder: Path) -> None:
    change_config(folder, vocab_size=300)
    change_weights(folder, lambda tensors: tensors.update(_fewer_words(tensors)))
    assert "an encoder for 300 ids" in refusal(folder)


def _fewer_words(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    name = "embeddings.word_embeddings.weight"
    return {name: tensors[name][:300].clone()}


def test_the_hub_cannot_be_reached_and_the_message_says_so() -> None:
    with pytest.raises(InputError, match=r"^nobody/nothing is in no folder or cache here, and the model hub cannot be"):
        find("nobody/nothing")


@pytest.mark.parametrize("away", [{"HF_HUB_OFFLINE": "1"}, {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://[::1]:1"}])
def test_the_hub_cache_is_enough(away: dict[str, str], folder: Path, tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--org--tiny"
    shutil.copytree(folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    script = "from pipelines.roberta.checkpoint import find; m = find('org/tiny'); print(m.revision, m.digest)"
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub")} | away
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [commit, find(str(folder)).digest]


def test_a_pinned_hub_model_is_found_on_another_machine(folder: Path, tmp_path: Path) -> None:
    """The machine that opened the run has it elsewhere; this one has the same commit in its own cache."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "hub" / "models--org--tiny" / "snapshots" / commit
    shutil.copytree(folder, snapshot)
    pinned = replace(find(str(folder)), source="org/tiny@main", path="/another/machine/snapshot", revision=commit)
    script = (
        "from pipelines.spec import ModelRef;"
        "from pipelines.roberta.checkpoint import on_this_machine, verify;"
        f"model = on_this_machine({pinned!r}); verify(model); print(model.path)"
    )
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == snapshot


def test_finding_a_model_needs_no_torch(folder: Path) -> None:
    script = (
        "import sys; from pipelines.roberta.checkpoint import find; find(sys.argv[1]);"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script, folder], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("config_class", [RobertaConfig, XLMRobertaConfig, CamembertConfig])
def test_defaults_are_those_of_transformers(config_class: type[RobertaConfig]) -> None:
    standard = config_class()
    parsed = parse_config({"model_type": standard.model_type}, "config.json")
    for name in parsed.__dataclass_fields__:
        assert getattr(parsed, name) == getattr(standard, name)


def test_what_is_found_is_what_transformers_loads(folder: Path) -> None:
    """The token limit is the longest input that transformers takes as well."""
    model, oracle = find(str(folder)), AutoModel.from_pretrained(folder).eval()
    ids = torch.full((1, model.token_limit), 9)
    assert oracle(input_ids=ids).last_hidden_state.shape == (1, 128, 64)
    with pytest.raises((IndexError, RuntimeError)):
        oracle(input_ids=torch.full((1, model.token_limit + 1), 9))
