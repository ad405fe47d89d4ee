"""``config.json`` of a checkpoint: what the forward pass depends on, checked before anything else is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from pipelines.errors import InputError

MODEL_TYPES = ("roberta", "xlm-roberta", "camembert")
ACTIVATIONS = (
    *("gelu", "gelu_python", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "quick_gelu"),
    *("relu", "silu", "swish", "tanh", "sigmoid", "mish", "elu", "leaky_relu", "linear"),
)
MAX_CONFIG_BYTES = 16 * 2**20
MAX_SIZE = 2**31 - 1
"""No count in a config is higher; a count that is would only exhaust the memory."""


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """The values that an encoder's output depends on; names and defaults are those of transformers' RobertaConfig."""

    model_type: str
    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    hidden_act: str
    max_position_embeddings: int
    type_vocab_size: int
    layer_norm_eps: float
    pad_token_id: int

    @property
    def token_limit(self) -> int:
        """The longest input in tokens: positions begin right after the padding index."""
        return self.max_position_embeddings - self.pad_token_id - 1


def read_json(path: Path, max_bytes: int = MAX_CONFIG_BYTES) -> dict[str, Any]:
    """A JSON object from a file. Raises InputError where there is no such file or it holds anything else."""
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise InputError(f"{path} has {size} bytes, wanted at most {max_bytes}.", "Is it the right file?")
        document = orjson.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.", "Is this a model folder?") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}.", "Copy the checkpoint again.") from error
    if not isinstance(document, dict):
        raise InputError(f"{path} holds no JSON object.", "Copy the checkpoint again.")
    return document


def parse_config(document: Mapping[str, Any], place: str) -> EncoderConfig:
    """The encoder's values from a ``config.json``; ``place`` names it in errors.

    Raises InputError for another architecture, for remote code, and for values no encoder can have.
    """
    model_type = document.get("model_type")
    if model_type not in MODEL_TYPES:
        raise InputError(
            f"{place} is of model type {_shown(model_type)}, wanted one of {', '.join(MODEL_TYPES)}.",
            "Other architectures are not supported.",
        )
    for key in ("auto_map", "quantization_config"):
        if document.get(key):
            raise InputError(f"{place} has {key!r}, which is not supported.", "Wanted plain weights and no own code.")
    for key in ("is_decoder", "add_cross_attention"):
        if document.get(key):
            raise InputError(f"{place} has {key!r}: a decoder.", "Only encoders have embeddings and labels.")
    if document.get("position_embedding_type") not in (None, "absolute"):
        found = _shown(document["position_embedding_type"])
        raise InputError(f"{place} has position_embedding_type {found}.", "Only absolute positions are supported.")
    activation = document.get("hidden_act", "gelu")
    if activation not in ACTIVATIONS:
        raise InputError(f"{place} has hidden_act {_shown(activation)}, wanted one of {', '.join(ACTIVATIONS)}.")
    config = EncoderConfig(
        model_type=model_type,
        vocab_size=_size(document, "vocab_size", 50265 if model_type == "roberta" else 30522, place),
        hidden_size=_size(document, "hidden_size", 768, place),
        num_hidden_layers=_size(document, "num_hidden_layers", 12, place, most=1000),
        num_attention_heads=_size(document, "num_attention_heads", 12, place),
        intermediate_size=_size(document, "intermediate_size", 3072, place),
        hidden_act=activation,
        max_position_embeddings=_size(document, "max_position_embeddings", 512, place),
        type_vocab_size=_size(document, "type_vocab_size", 2, place),
        layer_norm_eps=_epsilon(document, place),
        pad_token_id=_size(document, "pad_token_id", 1, place, least=0),
    )
    if config.hidden_size % config.num_attention_heads:
        heads = config.num_attention_heads
        raise InputError(f"{place} has hidden_size {config.hidden_size}, which {heads} attention heads do not divide.")
    if config.pad_token_id >= config.vocab_size:
        raise InputError(f"{place} has pad_token_id {config.pad_token_id} in a vocabulary of {config.vocab_size}.")
    if config.token_limit < 4:
        positions = config.max_position_embeddings
        raise InputError(f"{place} has {positions} positions, which leaves {config.token_limit}: too few for a text.")
    return config


def parse_labels(document: Mapping[str, Any], count: int, place: str) -> tuple[str, ...]:
    """The names of a classifier's ``count`` classes, in class order; ``LABEL_i`` where the config has none.

    Raises InputError where ``id2label`` names other classes than the classifier has.
    """
    names = document.get("id2label")
    if names is None:
        return tuple(f"LABEL_{number}" for number in range(count))
    wanted = [str(number) for number in range(count)]
    if not isinstance(names, dict) or sorted(names) != sorted(wanted):
        found = f"{len(names)} names" if isinstance(names, dict) else "no object"
        raise InputError(
            f"{place} has {found} in id2label, wanted 0 to {count - 1} as the classifier has {count} classes."
        )
    if not all(isinstance(name, str) for name in names.values()):
        raise InputError(f"{place} has names in id2label that are no strings.")
    return tuple(names[number] for number in wanted)


def _size(
    document: Mapping[str, Any], key: str, default: int, place: str, *, least: int = 1, most: int = MAX_SIZE
) -> int:
    value = document.get(key)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InputError(f"{place} has {key} {_shown(value)}, wanted a whole number from {least} to {most}.")
    return value


def _epsilon(document: Mapping[str, Any], place: str) -> float:
    value = document.get("layer_norm_eps", 1e-12)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise InputError(f"{place} has layer_norm_eps {_shown(value)}, wanted a small positive number.")
    return float(value)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
