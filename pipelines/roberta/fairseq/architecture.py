"""``args`` or ``cfg`` of a checkpoint of fairseq, with the shapes of its tensors, as a ``config.json``.

Defaults of the architectures: facebookresearch/fairseq ``fairseq/models/roberta/model.py`` at 00d5b7ad.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.errors import InputError
from pipelines.roberta.config import parse_config
from pipelines.roberta.fairseq.described import Inert
from pipelines.roberta.fairseq.keys import POSITIONS, WORDS
from pipelines.roberta.tensors import Tensor

ATTENTION_HEADS = {"roberta": 12, "roberta_base": 12, "roberta_large": 16, "xlm": 16}
"""Of the architectures that state none: the one number that no shape tells."""
ACTIVATIONS = {"gelu": "gelu", "relu": "relu", "tanh": "tanh", "linear": "linear", "gelu_accurate": "gelu_new"}
SPECIAL_ROWS = 2
"""Rows of the positions that no token has: those up to the padding index."""
_TRAINED_OTHERWISE = {
    "quant_noise_scalar": "quantisation noise",
    "quant_noise_pq": "quantisation noise",
    "adaptive_input": "adaptive input embeddings",
    "encoder_layers_to_keep": "only some of its layers (encoder_layers_to_keep)",
    "spectral_norm_classification_head": "spectral normalisation",
    "no_token_positional_embeddings": "no positions",
}


def model_arguments(root: Mapping[Any, Any], place: str) -> dict[str, Any]:
    """What the model was built with, by name, from ``args`` (a Namespace) or ``cfg`` (OmegaConf, or plain).

    Raises InputError where a checkpoint has neither.
    """
    for key in ("args", "cfg"):
        found = _plain(root.get(key))
        if isinstance(found, Mapping) and key == "cfg":
            found = _plain(found.get("model"))
        if isinstance(found, Mapping) and found:
            return {str(name): _plain(value) for name, value in found.items() if isinstance(name, str)}
    raise InputError(f"{place} has neither args nor cfg.", "Wanted a whole checkpoint, not the state of a model alone.")


def config_document(
    arguments: Mapping[str, Any], tensors: Mapping[str, Tensor], layers: int, place: str
) -> dict[str, Any]:
    """``config.json`` of the encoder whose tensors are given by transformers' names.

    Sizes are those of the tensors; what ``arguments`` says has to agree. Raises InputError where it does not, and for
    what transformers' RoBERTa does not do.
    """
    for name, words in _TRAINED_OTHERWISE.items():
        if arguments.get(name):
            raise InputError(f"{place} has {words}, which RoBERTa in transformers cannot have.")
    if arguments.get("no_scale_embedding") is False:
        raise InputError(f"{place} scales its embeddings, which RoBERTa in transformers does not.")
    rows, hidden = _shape(tensors, WORDS, place)
    positions, _ = _shape(tensors, POSITIONS, place)
    inner, _ = _shape(tensors, "roberta.encoder.layer.0.intermediate.dense.weight", place)
    for name, found in (
        ("encoder_layers", layers),
        ("encoder_embed_dim", hidden),
        ("encoder_ffn_embed_dim", inner),
        ("max_positions", positions - SPECIAL_ROWS),
    ):
        said = arguments.get(name)
        if said is not None and said != found:
            raise InputError(f"{place} says {name} is {_shown(said)}, its tensors say {found}.")
    activation = arguments.get("activation_fn", "gelu")
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise InputError(f"{place} has activation_fn {_shown(activation)}, wanted one of {', '.join(ACTIVATIONS)}.")
    document = {
        "model_type": "roberta",
        "vocab_size": rows,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": _attention_heads(arguments, place),
        "intermediate_size": inner,
        "hidden_act": ACTIVATIONS[activation],
        "hidden_dropout_prob": _rate(arguments, "dropout", 0.1),
        "attention_probs_dropout_prob": _rate(arguments, "attention_dropout", 0.1),
        "classifier_dropout": _rate(arguments, "pooler_dropout", 0.0),
        "max_position_embeddings": positions,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
        "dtype": "float32",  # what fairseq computes in, whatever the file stores
    }
    parse_config(document, place)
    return document


def _attention_heads(arguments: Mapping[str, Any], place: str) -> int:
    architecture = arguments.get("arch") or arguments.get("_name")
    said = arguments.get("encoder_attention_heads")
    if said is None and isinstance(architecture, str):
        said = ATTENTION_HEADS.get(architecture)
    if type(said) is not int:
        raise InputError(
            f"{place} does not say how many attention heads it has (architecture {_shown(architecture)}).",
            "Wanted encoder_attention_heads in its args or cfg; no shape tells it.",
        )
    return said


def _plain(value: object) -> object:
    """What a node of OmegaConf holds, one level deep: its classes need not be there to be read."""
    if isinstance(value, Inert):
        state = value.state
        if isinstance(state, Mapping):
            return state.get("_content", state.get("_val"))
        return None
    return value


def _shape(tensors: Mapping[str, Tensor], name: str, place: str) -> tuple[int, int]:
    shape = tensors[name].shape if name in tensors else ()
    if len(shape) != 2:
        raise InputError(f"{place} has {name} of shape {list(shape)}, wanted a matrix.", "Get the checkpoint again.")
    return shape[0], shape[1]


def _rate(arguments: Mapping[str, Any], name: str, default: float) -> float:
    value = arguments.get(name)
    return float(value) if isinstance(value, int | float) and 0 <= value < 1 else default


def _shown(value: object) -> str:
    if isinstance(value, int) and value.bit_length() > 64:
        return "a number of more than 64 bits"
    return repr(value)[:60] if isinstance(value, str | int | float | bool | None) else f"a {type(value).__name__}"
