"""Small random models in the layouts of fairseq, and its forward pass: written after fairseq's own names and formulas,
with nothing of transformers or of the importer in it."""

from __future__ import annotations

import random
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (torch calls it so)

LAYERS, HIDDEN, INNER, ATTENTION_HEADS, POSITIONS = 3, 24, 40, 4, 70
MERGES = (
    *(("t", "h"), ("Ġ", "th"), ("Ġth", "e"), ("i", "n"), ("e", "r"), ("r", "i"), ("Ġ", "ri"), ("v", "er")),
    *(("Ġri", "ver"), ("ri", "ver"), ("th", "e"), ("Ġ", "w"), ("Ġw", "a"), ("t", "er"), ("Ġwa", "ter"), ("o", "n")),
)
"""In this order a word such as `` river`` ends as one piece."""
SENTENCE = "encoder.sentence_encoder."
State = dict[str, torch.Tensor]


def bpe_text() -> str:
    """``vocab.bpe``."""
    return "#version: 0.2\n" + "".join(f"{first} {second}\n" for first, second in MERGES)


def dictionary(seed: int = 0) -> list[str]:
    """The symbols of a ``dict.txt`` for that BPE: its GPT-2 ids in an order of their own, and what fills it up."""
    ids = [str(number) for number in range(256 + len(MERGES) + 1)]
    random.Random(seed).shuffle(ids)
    fill = -(4 + len(ids)) % 8
    return [*ids, *(f"madeupword{number:04d}" for number in range(fill))]


def state(
    seed: int = 0, heads: Mapping[str, int] | None = None, *, tied: bool = True, inner_dim: int = HIDDEN
) -> State:
    """A random RoBERTa under today's names, with a language model head and classification heads (name → outputs)."""
    torch.manual_seed(seed)
    rows = len(dictionary()) + 5

    def linear(name: str, out: int, into: int) -> State:
        return {f"{name}.weight": torch.randn(out, into) / into**0.5, f"{name}.bias": torch.randn(out) / 4}

    def norm(name: str) -> State:
        return {f"{name}.weight": 1 + torch.randn(HIDDEN) / 4, f"{name}.bias": torch.randn(HIDDEN) / 4}

    made = {
        f"{SENTENCE}embed_tokens.weight": torch.randn(rows, HIDDEN),
        f"{SENTENCE}embed_positions.weight": torch.randn(POSITIONS + 2, HIDDEN),
        **norm(f"{SENTENCE}layernorm_embedding"),
    }
    for number in range(LAYERS):
        layer = f"{SENTENCE}layers.{number}."
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            made |= linear(f"{layer}self_attn.{name}", HIDDEN, HIDDEN)
        made |= norm(f"{layer}self_attn_layer_norm") | norm(f"{layer}final_layer_norm")
        made |= linear(f"{layer}fc1", INNER, HIDDEN) | linear(f"{layer}fc2", HIDDEN, INNER)
    made |= linear("encoder.lm_head.dense", HIDDEN, HIDDEN) | norm("encoder.lm_head.layer_norm")
    words = made[f"{SENTENCE}embed_tokens.weight"]
    made["encoder.lm_head.weight"] = words if tied else torch.randn(rows, HIDDEN)
    made["encoder.lm_head.bias"] = torch.randn(rows)
    for name, outputs in (heads or {}).items():
        made |= linear(f"classification_heads.{name}.dense", inner_dim, HIDDEN)
        made |= linear(f"classification_heads.{name}.out_proj", outputs, inner_dim)
    return made


def of_2019(today: State) -> State:
    """The same tensors as the files of 2019 have them."""
    old: State = {}
    for name, tensor in today.items():
        name = name.replace("encoder.", "decoder.", 1) if name.startswith("encoder.") else name
        name = name.replace("layernorm_embedding", "emb_layer_norm")
        if ".q_proj." in name:
            old[name.replace("q_proj.", "in_proj_")] = torch.cat(
                [today[name.replace("decoder.", "encoder.", 1).replace("q_proj", f"{letter}_proj").replace(
                    "emb_layer_norm", "layernorm_embedding")] for letter in "qkv"]
            )  # fmt: skip
        elif ".k_proj." not in name and ".v_proj." not in name:
            old[name] = tensor
    old["decoder.sentence_encoder.version"] = torch.tensor([3.0])
    old["decoder.sentence_encoder.embed_positions._float_tensor"] = torch.zeros(1)
    return old


def forward(model: State, ids: Sequence[int], head: str | None = None) -> dict[str, torch.Tensor]:
    """What fairseq computes for one sentence. *Shape:* features ``[tokens, hidden]``, lm ``[tokens, vocabulary]``,
    logits ``[classes]``."""

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, model[f"{name}.weight"].float(), model[f"{name}.bias"].float())

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, (HIDDEN,), model[f"{name}.weight"].float(), model[f"{name}.bias"].float(), 1e-5)

    x = model[f"{SENTENCE}embed_tokens.weight"].float()[list(ids)]
    x = x + model[f"{SENTENCE}embed_positions.weight"].float()[2 : 2 + len(ids)]
    x = norm(f"{SENTENCE}layernorm_embedding", x)
    for number in range(LAYERS):
        layer, each = f"{SENTENCE}layers.{number}.", HIDDEN // ATTENTION_HEADS
        q, k, v = (
            linear(f"{layer}self_attn.{letter}_proj", x).view(-1, ATTENTION_HEADS, each).transpose(0, 1)
            for letter in "qkv"
        )
        weights = torch.softmax((q * each**-0.5) @ k.transpose(1, 2), dim=-1)
        mixed = (weights @ v).transpose(0, 1).reshape(-1, HIDDEN)
        x = norm(f"{layer}self_attn_layer_norm", x + linear(f"{layer}self_attn.out_proj", mixed))
        x = norm(f"{layer}final_layer_norm", x + linear(f"{layer}fc2", F.gelu(linear(f"{layer}fc1", x))))
    inner = norm("encoder.lm_head.layer_norm", F.gelu(linear("encoder.lm_head.dense", x)))
    result = {
        "features": x,
        "lm": F.linear(inner, model["encoder.lm_head.weight"].float()) + model["encoder.lm_head.bias"],
    }
    if head is not None:
        pooled = torch.tanh(linear(f"classification_heads.{head}.dense", x[0]))
        result["logits"] = linear(f"classification_heads.{head}.out_proj", pooled)
    return result


def arguments(**changes: Any) -> Namespace:
    """``args`` of such a model, as a training command of fairseq leaves them."""
    values = {
        "arch": "roberta_base", "task": "masked_lm", "criterion": "masked_lm", "encoder_layers": LAYERS,
        "encoder_embed_dim": HIDDEN, "encoder_ffn_embed_dim": INNER, "encoder_attention_heads": ATTENTION_HEADS,
        "dropout": 0.1, "attention_dropout": 0.1, "pooler_dropout": 0.0, "activation_fn": "gelu", "lr": [1e-5],
        "pooler_activation_fn": "tanh", "max_positions": POSITIONS, "tokens_per_sample": POSITIONS, "seed": 1,
    }  # fmt: skip
    return Namespace(**{name: value for name, value in (values | changes).items() if value is not None})


def extras(model: State) -> dict[str, Any]:
    """What else a checkpoint of fairseq has: the optimiser's state and the history."""
    first = next(iter(model.values()))
    return {
        "optimizer_history": [{"criterion_name": "MaskedLm", "num_updates": 3, "lr_scheduler_state": {"best": None}}],
        "extra_state": {"train_iterator": {"epoch": 2, "shuffle": True}, "val_loss": 1.5},
        "last_optimizer_state": {"state": {0: {"step": 3, "exp_avg": torch.zeros_like(first)}}, "param_groups": []},
    }


def write(folder: Path, root: Mapping[str, Any], *, legacy: bool = False, symbols: Sequence[str] | None = None) -> Path:
    """A checkpoint's folder: model.pt in today's file format or that of 2019, dict.txt, vocab.bpe."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(dict(root), folder / "model.pt", _use_new_zipfile_serialization=not legacy)
    listed = dictionary() if symbols is None else symbols
    lines = "".join(f"{symbol} {1000 - number if number < 900 else 0}\n" for number, symbol in enumerate(listed))
    (folder / "dict.txt").write_text(lines, encoding="utf-8")
    (folder / "vocab.bpe").write_text(bpe_text(), encoding="utf-8")
    return folder
