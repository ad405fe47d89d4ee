"""One table of the tensors' names, read both ways: fairseq's and transformers'; and what other layouts make of it.

Names of fairseq: ``fairseq/models/roberta/model.py``, its ``upgrade_state_dict_named`` for those of 2019
(facebookresearch/fairseq at 00d5b7ad).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping

from pipelines.errors import InputError
from pipelines.roberta.tensors import Tensor

SENTENCE = "encoder.sentence_encoder."
EMBEDDINGS = "roberta.embeddings."
WORDS = f"{EMBEDDINGS}word_embeddings.weight"
POSITIONS = f"{EMBEDDINGS}position_embeddings.weight"
TOKEN_TYPES = f"{EMBEDDINGS}token_type_embeddings.weight"
DECODER = "lm_head.decoder.weight"
DECODER_BIAS = "lm_head.decoder.bias"
HEADS = "classification_heads."
WEIGHT_AND_BIAS = (".weight", ".bias")

_SINGLE = {
    f"{SENTENCE}embed_tokens.weight": WORDS,
    f"{SENTENCE}embed_positions.weight": POSITIONS,
    "encoder.lm_head.weight": DECODER,
    "encoder.lm_head.bias": "lm_head.bias",
}
_PAIRS = {
    f"{SENTENCE}layernorm_embedding": f"{EMBEDDINGS}LayerNorm",
    "encoder.lm_head.dense": "lm_head.dense",
    "encoder.lm_head.layer_norm": "lm_head.layer_norm",
}
_LAYER = {
    "self_attn.q_proj": "attention.self.query",
    "self_attn.k_proj": "attention.self.key",
    "self_attn.v_proj": "attention.self.value",
    "self_attn.out_proj": "attention.output.dense",
    "self_attn_layer_norm": "attention.output.LayerNorm",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
    "final_layer_norm": "output.LayerNorm",
}
_HEAD = {"dense": "classifier.dense", "out_proj": "classifier.out_proj"}
_LAYER_NAME = re.compile(re.escape(SENTENCE) + r"layers\.(\d{1,4})\.")
_OLD_NORMS = {".layer_norms.0.": ".self_attn_layer_norm.", ".layer_norms.1.": ".final_layer_norm."}
_NOT_OURS = re.compile(
    r"encoder\.sentence_encoder\.version|.*\._float_tensor|encoder\.(regression_head|_ema)\b.*"
    r"|encoder\.sentence_encoder\.layers\.\d+\.(in_proj|out_proj|fc1|fc2)_(weight|bias)"
)
"""A marker, a buffer, what data2vec trains beside the encoder, and the copies of projections that fairseq 0.12 has for
its fast path and fills anew when it loads (``fairseq/modules/transformer_layer.py``): no output depends on them."""
_REFUSED = {
    f"{SENTENCE}layer_norm.": "a layer norm after its last layer (pre-norm)",
    f"{SENTENCE}segment_embeddings.": "segment embeddings",
    f"{SENTENCE}embed_tokens.embeddings.": "adaptive input embeddings",
    f"{SENTENCE}quant_noise.": "a layer for quantisation noise",
    f"{SENTENCE}emb_project": "a projection of its embeddings",
}


def names(layers: int, head: str | None) -> dict[str, str]:
    """fairseq's name → transformers' name of all tensors of a RoBERTa with so many layers, a language model head, and
    the classification head of that name."""
    table = dict(_SINGLE)
    modules = dict(_PAIRS)
    for layer in range(layers):
        for ours, theirs in _LAYER.items():
            modules[f"{SENTENCE}layers.{layer}.{ours}"] = f"roberta.encoder.layer.{layer}.{theirs}"
    if head is not None:
        modules |= {f"{HEADS}{head}.{ours}": theirs for ours, theirs in _HEAD.items()}
    return table | {f"{ours}{end}": f"{theirs}{end}" for ours, theirs in modules.items() for end in WEIGHT_AND_BIAS}


def today(tensors: Mapping[str, Tensor], place: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint under today's names of fairseq, whenever it was written; buffers are left out.

    Raises InputError for what transformers' RoBERTa has no place for, naming it.
    """
    renamed: dict[str, Tensor] = {}
    for old, tensor in tensors.items():
        name = re.sub(r"^decoder\.", "encoder.", old).replace(".emb_layer_norm.", ".layernorm_embedding.")
        for before, after in _OLD_NORMS.items():
            name = name.replace(before, after)
        if _NOT_OURS.fullmatch(name):
            continue
        for start, words in _REFUSED.items():
            if name.startswith(start):
                raise InputError(f"{place} has {words}, which RoBERTa in transformers cannot have.", _ONLY_PLAIN)
        if name.endswith(("_orig", "weight_u", "weight_v")):
            raise InputError(f"{place} has {name[:80]!r}: spectral normalisation.", _ONLY_PLAIN)
        if "flat_param" in name or "_fsdp" in name:
            raise InputError(
                f"{place} has {name[:80]!r}: it is one shard of several.", "Consolidate it in fairseq first."
            )
        for part, whole in _thirds(name, tensor, place).items():
            if part in renamed:
                raise InputError(f"{place} has tensor {part[:80]!r} in two layouts.", _ONLY_PLAIN)
            renamed[part] = whole
    return renamed


def layer_count(tensors: Iterable[str], place: str) -> int:
    """How many layers there are. Raises InputError where one is missing (LayerDrop) or there is none."""
    found = sorted({int(match[1]) for name in tensors if (match := _LAYER_NAME.match(name))})
    if not found:
        raise InputError(f"{place} has no tensor {SENTENCE}layers.0….", "Wanted a RoBERTa of fairseq.")
    missing = next((number for number, layer in enumerate(found) if number != layer), None)
    if missing is not None:
        raise InputError(
            f"{place} lacks layer {missing} of {found[-1] + 1}: it was pruned (LayerDrop).",
            "Load it in fairseq with encoder_layers_to_keep and save the state that it has then.",
        )
    return len(found)


def head_names(tensors: Iterable[str]) -> list[str]:
    """The classification heads of a checkpoint, sorted."""
    return sorted({name.split(".")[1] for name in tensors if name.startswith(HEADS) and name.count(".") > 1})


_ONLY_PLAIN = "Only plain RoBERTa models can be imported."


def _thirds(name: str, tensor: Tensor, place: str) -> dict[str, Tensor]:
    """The projections of query, key and value, which files of 2019 have one above the other, apart."""
    match = re.fullmatch(r"(.*\.self_attn)\.in_proj_(weight|bias)", name)
    if match is None:
        return {name: tensor}
    if not tensor.shape or tensor.shape[0] % 3:
        raise InputError(f"{place} has tensor {name[:80]!r} of shape {list(tensor.shape)}, wanted three thirds.")
    rows, size = tensor.shape[0] // 3, (tensor.end - tensor.begin) // 3
    return {
        f"{match[1]}.{letter}_proj.{match[2]}": dataclasses.replace(
            tensor,
            shape=(rows, *tensor.shape[1:]),
            begin=tensor.begin + number * size,
            end=tensor.begin + (number + 1) * size,
        )
        for number, letter in enumerate("qkv")
    }
