"""What transformers' RoBERTa has no place for, and what does not belong together, is refused by name; labels, heads and
dictionaries are those that the files say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from unit import fairseq_models
from unit.fairseq_models import HIDDEN, SENTENCE, State

from pipelines.errors import InputError, PenstockError, UsageError
from pipelines.roberta.checkpoint import find
from pipelines.roberta.fairseq.exporting import export_fairseq
from pipelines.roberta.fairseq.importing import Asked, import_fairseq

Change = Callable[[State], object]


def refusal(path: Path, out: Path, **asked: Any) -> str:
    with pytest.raises(PenstockError) as caught:
        import_fairseq(path, out / "made", Asked(**asked))
    assert isinstance(caught.value, InputError | UsageError)
    assert "\n" not in str(caught.value)
    assert list(out.glob("*made*")) == []
    return str(caught.value)


def add(name: str, *shape: int) -> Change:
    return lambda state: state.update({name: torch.zeros(shape)})


def rename(before: str, after: str) -> Change:
    def change(state: State) -> None:
        for name in [name for name in state if before in name]:
            state[name.replace(before, after)] = state.pop(name)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (add(f"{SENTENCE}layer_norm.weight", HIDDEN), "pre-norm"),
        (rename("layernorm_embedding", "x"), "no RoBERTa has"),
        (add(f"{SENTENCE}segment_embeddings.weight", 2, HIDDEN), "segment embeddings"),
        (rename(".layers.1.", ".layers.7."), "LayerDrop"),
        (rename("encoder.", "encoder._fsdp_wrapped_module."), "shard"),
        (rename("mnli.out_proj.weight", "mnli.out_proj.weight_orig"), "spectral"),
        (add("encoder.lm_head.extra", 3), "'encoder.lm_head.extra'"),
        (add("decoder.lm_head.bias", 3), "in two layouts"),
        (add(f"{SENTENCE}layers.0.self_attn.in_proj_weight", 10, HIDDEN), "three thirds"),
        (add(f"{SENTENCE}layers.1.fc1.bias", 7), "intermediate.dense.bias"),
        (add("encoder.lm_head.bias", 7), "lm_head.bias"),
        (add("classification_heads.mnli.dense.weight", 8, HIDDEN), "classifier.dense.weight"),
        (add("encoder.lm_head.weight", 7, HIDDEN), "lm_head.decoder.weight"),
        (lambda state: state.pop("encoder.lm_head.dense.weight"), "lm_head.dense.weight"),
        (lambda state: state.pop(f"{SENTENCE}embed_positions.weight"), "position_embeddings"),
        (lambda state: state.pop(f"{SENTENCE}embed_tokens.weight"), "word_embeddings"),
        (lambda state: state.clear(), "layers.0"),
        (lambda state: state.update({"encoder.x": 3}), "no tensor"),
        (lambda state: state.update({f"{SENTENCE}embed_tokens.weight": torch.zeros(281, HIDDEN).int()}), "I32"),
        (
            lambda state: state.update({f"{SENTENCE}layers.0.fc1.weight": state[f"{SENTENCE}layers.0.fc2.weight"].T}),
            "not contiguous",
        ),
    ],
)
def test_tensors_that_cannot_be_mapped_are_named(change: Change, said: str, tmp_path: Path) -> None:
    state = fairseq_models.state(heads={"mnli": 3})
    change(state)
    fairseq_models.write(tmp_path / "source", {"args": fairseq_models.arguments(), "model": state})
    assert said in refusal(tmp_path / "source", tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"quant_noise_pq": 0.1}, "quantisation noise"),
        ({"quant_noise_scalar": 0.5}, "quantisation noise"),
        ({"encoder_layers_to_keep": "0,2"}, "encoder_layers_to_keep"),
        ({"adaptive_input": True}, "adaptive"),
        ({"no_scale_embedding": False}, "scales"),
        ({"activation_fn": "swish"}, "swish"),
        ({"activation_fn": "relu"}, "language model head"),
        ({"pooler_activation_fn": "relu"}, "tanh"),
        ({"encoder_layers": 12}, "encoder_layers is 12"),
        ({"encoder_layers": 10**5000}, "more than 64 bits"),
        ({"encoder_embed_dim": 768}, "encoder_embed_dim"),
        ({"max_positions": 512}, "max_positions"),
        ({"encoder_attention_heads": None, "arch": "mine"}, "attention heads"),
        ({"encoder_attention_heads": "4"}, "attention heads"),
        ({"encoder_attention_heads": 7}, "7 attention heads do not divide"),
        ({"encoder_attention_heads": -1}, "num_attention_heads"),
    ],
)
def test_what_the_arguments_say_has_to_agree(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    arguments = fairseq_models.arguments()
    vars(arguments).update({name: value for name, value in changes.items() if value is not None})
    for name in [name for name, value in changes.items() if value is None]:
        delattr(arguments, name)
    root = {"args": arguments, "model": fairseq_models.state(heads={"mnli": 3})}
    fairseq_models.write(tmp_path / "source", root)
    assert said in refusal(tmp_path / "source", tmp_path)


@pytest.mark.parametrize(
    ("root", "said"),
    [
        ({"model": fairseq_models.state()}, "neither args nor cfg"),
        ({"args": None, "cfg": {"task": {}}, "model": fairseq_models.state()}, "neither args nor cfg"),
        ({"args": fairseq_models.arguments()}, "no model"),
        ({"args": fairseq_models.arguments(), "model": [], "shard_metadata": {"x": 1}}, "no model"),
        ({"args": fairseq_models.arguments(), "model": {}, "shard_metadata": {"x": 1}}, "shard"),
    ],
)
def test_half_a_checkpoint_is_refused(root: dict[str, Any], said: str, tmp_path: Path) -> None:
    fairseq_models.write(tmp_path / "source", root)
    assert said in refusal(tmp_path / "source", tmp_path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = {"args": fairseq_models.arguments(), "model": fairseq_models.state(heads={"sst": 2, "race": 1, "mnli": 3})}
    return fairseq_models.write(tmp_path / "source", root)


def labels_of(folder: Path) -> list[str]:
    names = json.loads((folder / "config.json").read_text())["id2label"]
    return [names[str(number)] for number in range(len(names))]


def test_several_heads_are_listed_and_none_is_guessed(source: Path, tmp_path: Path) -> None:
    assert "'mnli', 'race', 'sst'" in refusal(source, tmp_path)
    assert "no classification head 'rte'" in refusal(source, tmp_path, head="rte")


def test_labels_are_in_the_order_of_their_dictionary(source: Path, tmp_path: Path) -> None:
    data = tmp_path / "data-bin"
    (data / "label").mkdir(parents=True)
    (data / "label" / "dict.txt").write_text("1 37552\n0 29769\nmadeupword0000 0\nmadeupword0001 0\n")
    for number, place in enumerate((data, data / "label", data / "label" / "dict.txt")):
        import_fairseq(source, tmp_path / str(number), Asked(head="sst", labels=place))
        assert labels_of(tmp_path / str(number)) == ["1", "0"]
    (data / "label").rename(source / "label")
    import_fairseq(source, tmp_path / "beside", Asked(head="sst"))
    assert labels_of(tmp_path / "beside") == ["1", "0"]
    assert "2 labels" in refusal(source, tmp_path, head="mnli", labels=source / "label")
    assert "1 output" in refusal(source, tmp_path, head="race", labels=source / "label")
    (source / "label" / "dict.txt").rename(tmp_path / "elsewhere.txt")
    import_fairseq(source, tmp_path / "unnamed", Asked(head="sst"))
    assert labels_of(tmp_path / "unnamed") == ["LABEL_0", "LABEL_1"]
    assert "no label dictionary" in refusal(source, tmp_path, head="sst", labels=data)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("dict.txt", None, "no dict.txt"),
        ("dict.txt", "13 1\n262 1\n", "embeddings of 281 tokens"),
        ("dict.txt", "▁the 1\n" * 3, "twice"),
        ("dict.txt", "".join(f"▁{number} 1\n" for number in range(276)), "sentencepiece"),
        ("dict.txt", "13\n", "wanted a symbol"),
        ("dict.txt", b"\xff\xfe", "UTF-8"),
        ("dict.txt", "".join(f"{number} 1\n" for number in range(1, 277)), "wanted ids of GPT-2 below 273"),
        ("dict.txt", "".join(f"madeupword{number} 1\n" for number in range(276)), "lacks 272 tokens"),
        ("vocab.bpe", None, "no vocab.bpe with the checkpoint"),
        ("vocab.bpe", "#version: 0.2\nt h\n", "wanted ids of GPT-2"),
        ("vocab.bpe", "#version: 0.2\n", "no lines"),
        ("vocab.bpe", "the\n", "two pieces"),
        ("vocab.bpe", "x yz\n", "'yz'"),
        ("encoder.json", "{}", "other tokens"),
        ("encoder.json", "[", "not JSON"),
    ],
)
def test_dictionaries_that_do_not_belong_to_the_model_are_refused(
    name: str, content: str | bytes | None, said: str, source: Path, tmp_path: Path
) -> None:
    (source / name).unlink(missing_ok=True)
    if content is not None:
        (source / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert said in refusal(source, tmp_path, head="sst")


def test_files_may_lie_elsewhere_and_the_ids_may_be_listed(source: Path, tmp_path: Path) -> None:
    first = import_fairseq(source, tmp_path / "first", Asked(head="sst"))
    (tmp_path / "bpe").mkdir()
    (source / "vocab.bpe").rename(tmp_path / "bpe" / "merges.txt")
    (tmp_path / "bin" / "input0").mkdir(parents=True)
    (source / "dict.txt").rename(tmp_path / "bin" / "input0" / "dict.txt")
    listed = export_fairseq(first.model, tmp_path / "exported").folder / "encoder.json"
    (tmp_path / "bpe" / "encoder.json").write_bytes(listed.read_bytes())
    for bpe in (tmp_path / "bpe", tmp_path / "bpe" / "merges.txt"):
        out = tmp_path / f"of-{bpe.name}"
        asked = Asked(head="sst", bpe=bpe, dictionary=tmp_path / "bin")
        assert import_fairseq(source / "model.pt", out, asked).model.tokenizer_digest == first.model.tokenizer_digest
    assert "no vocab.bpe" in refusal(source, tmp_path, head="sst", bpe=source, dictionary=tmp_path / "bin")


def test_what_fairseq_cannot_have_is_not_exported(
    make_model: Callable[..., Path], texts: list[str], tmp_path: Path
) -> None:
    other = make_model(texts, tmp_path / "camembert", model_type="camembert", vocab_size=300)
    with pytest.raises(InputError, match="of type camembert"):
        export_fairseq(find(str(other)), tmp_path / "made")
    assert not (tmp_path / "made").exists()
