"""RoBERTa's forward pass on packed rows. Only real tokens are computed.

The arithmetic is that of transformers' RobertaModel without pooler, in the same order
(https://github.com/huggingface/transformers, ``models/roberta/modeling_roberta.py``); query, key and value are one
product. XLM-RoBERTa and CamemBERT are the same network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 (torch calls it so)

from pipelines.roberta.attention import packed_attention
from pipelines.roberta.config import EncoderConfig, parse_config, read_json
from pipelines.roberta.layout import account
from pipelines.roberta.packing import Packing, pack, position_ids
from pipelines.roberta.tensors import stored_tensors
from pipelines.roberta.weights import load_weights
from pipelines.spec import ModelRef

_TANH_GELU = partial(F.gelu, approximate="tanh")
ACTIVATIONS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gelu": F.gelu,
    "gelu_python": F.gelu,
    "gelu_new": _TANH_GELU,
    "gelu_fast": _TANH_GELU,
    "gelu_pytorch_tanh": _TANH_GELU,
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "mish": F.mish,
    "elu": F.elu,
    "leaky_relu": F.leaky_relu,
    "linear": lambda x: x,
}


@dataclass(frozen=True, slots=True)
class Affine:
    """A weight and a bias, of a linear map or of a layer norm."""

    weight: torch.Tensor
    bias: torch.Tensor


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer. *Shape:* qkv.weight ``[3 hidden, hidden]``, query first, then key, then value."""

    qkv: Affine
    attended: Affine
    attended_norm: Affine
    inner: Affine
    outer: Affine
    outer_norm: Affine


class Encoder:
    """The weights of an encoder on a device."""

    def __init__(
        self, config: EncoderConfig, weights: Mapping[str, torch.Tensor], device: torch.device, dtype: torch.dtype
    ) -> None:
        self.config, self.device, self.dtype = config, device, dtype
        self._words = weights["embeddings.word_embeddings.weight"]
        self._positions = weights["embeddings.position_embeddings.weight"]
        self._type = weights["embeddings.token_type_embeddings.weight"][0]
        self._norm = _affine(weights, "embeddings.LayerNorm")
        self._layers = [_layer(weights, f"encoder.layer.{number}.") for number in range(config.num_hidden_layers)]
        self._activation = ACTIVATIONS[config.hidden_act]
        self.nbytes = sum(tensor.nbytes for tensor in weights.values())

    @classmethod
    def load(cls, model: ModelRef, device: torch.device, dtype: torch.dtype) -> Encoder:
        """Read a pinned checkpoint's encoder.

        Raises InputError where the folder is no longer a checkpoint, SurroundingsError where memory is too small.
        """
        folder = Path(model.path)
        config = parse_config(read_json(folder / "config.json"), model.path)
        tensors = account(stored_tensors(folder), config, model.path)
        return cls(config, load_weights(tensors, device, dtype), device, dtype)

    @torch.inference_mode()
    def forward(self, rows: Sequence[npt.NDArray[np.int32]]) -> tuple[torch.Tensor, Packing]:
        """The last layer's token vectors of several documents, each attending to itself alone, and their packing.

        *Shape:* rows ``[documents][tokens]``, ids with special tokens; result ``[all tokens, hidden]`` in ``dtype``.
        """
        ids, packing = pack(rows, self.device)
        embedded = F.embedding(ids, self._words) + self._type
        hidden = self._normalize(
            embedded + F.embedding(position_ids(packing, self.config.pad_token_id), self._positions), self._norm
        )
        for layer in self._layers:
            hidden = self._apply(layer, hidden, packing)
        return hidden, packing

    def _apply(self, layer: Layer, hidden: torch.Tensor, packing: Packing) -> torch.Tensor:
        heads = self.config.num_attention_heads
        query, key, value = _linear(hidden, layer.qkv).view(len(hidden), 3, heads, -1).unbind(1)
        attended = packed_attention(query, key, value, packing).flatten(1)
        hidden = self._normalize(_linear(attended, layer.attended) + hidden, layer.attended_norm)
        inner = self._activation(_linear(hidden, layer.inner))
        return self._normalize(_linear(inner, layer.outer) + hidden, layer.outer_norm)

    def _normalize(self, hidden: torch.Tensor, norm: Affine) -> torch.Tensor:
        return F.layer_norm(hidden, hidden.shape[-1:], norm.weight, norm.bias, self.config.layer_norm_eps)


def _linear(hidden: torch.Tensor, affine: Affine) -> torch.Tensor:
    return F.linear(hidden, affine.weight, affine.bias)


def _affine(weights: Mapping[str, torch.Tensor], name: str) -> Affine:
    return Affine(weights[f"{name}.weight"], weights[f"{name}.bias"])


def _layer(weights: Mapping[str, torch.Tensor], place: str) -> Layer:
    parts = [_affine(weights, f"{place}attention.self.{name}") for name in ("query", "key", "value")]
    return Layer(
        qkv=Affine(torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])),
        attended=_affine(weights, f"{place}attention.output.dense"),
        attended_norm=_affine(weights, f"{place}attention.output.LayerNorm"),
        inner=_affine(weights, f"{place}intermediate.dense"),
        outer=_affine(weights, f"{place}output.dense"),
        outer_norm=_affine(weights, f"{place}output.LayerNorm"),
    )
