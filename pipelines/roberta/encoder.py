"""RoBERTa's forward pass on packed rows. No document is padded, and of the last layer only what is read is computed.

The arithmetic is that of transformers' RobertaModel without pooler, in the same order
(https://github.com/huggingface/transformers, ``models/roberta/modeling_roberta.py``); query, key and value are one
product. XLM-RoBERTa and CamemBERT are the same network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 (torch calls it so)

from pipelines.memory import give_back
from pipelines.roberta.attention import first_attention, packed_attention
from pipelines.roberta.config import EncoderConfig, parse_config, read_json
from pipelines.roberta.invariant import invariant_form
from pipelines.roberta.layout import account
from pipelines.roberta.linear import Linear, LinearForm, linear_form
from pipelines.roberta.onednn import QuantizedLinear
from pipelines.roberta.packing import Packing, computed_rows, pack, position_ids
from pipelines.roberta.ranges import Watched, trial_rows
from pipelines.roberta.states import LAST_TOKENS, Needs, States
from pipelines.roberta.tables import PlainTable, QuantizedTable, Table
from pipelines.roberta.tensors import stored_tensors
from pipelines.roberta.weights import load_weights
from pipelines.spec import Dtype, ModelRef

ROW_DTYPES: Mapping[Dtype, torch.dtype] = {
    Dtype.FLOAT32: torch.float32,
    Dtype.BFLOAT16: torch.bfloat16,
    Dtype.FLOAT16: torch.float16,
    Dtype.INT8: torch.float32,
}
"""The format of what goes from layer to layer and of attention; int8 is that of the linear maps and the words."""

Load = Callable[[Sequence[str], torch.dtype | None], dict[str, torch.Tensor]]
"""Reads some of the encoder's tensors, by their plain names and in their order; None: as stored, not to be kept."""


@dataclass(frozen=True, slots=True)
class Affine:
    """Weight and bias of a layer norm."""

    weight: torch.Tensor
    bias: torch.Tensor


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer. ``query`` is apart in the last one only, where few tokens may need it.

    *Outputs:* projected ``3 hidden`` (query, key, value), or ``2 hidden`` (key, value) beside a query of its own.
    """

    query: Linear | None
    projected: Linear
    attended: Linear
    attended_norm: Affine
    inner: Linear
    outer: Linear
    outer_norm: Affine

    @property
    def nbytes(self) -> int:
        linears = [self.projected, self.attended, self.inner, self.outer, *([self.query] if self.query else [])]
        return sum(linear.nbytes for linear in linears)  # the norms are nothing beside them


class Encoder:
    """The weights of an encoder on a device."""

    def __init__(
        self, config: EncoderConfig, load: Load, device: torch.device, dtype: Dtype, *, batch_invariant: bool = False
    ) -> None:
        self.config, self.device, self.dtype = config, device, ROW_DTYPES[dtype]
        self._words: Table = _words(load, None if dtype is Dtype.INT8 else self.dtype)
        self._positions, types = load(
            [f"embeddings.{name}_embeddings.weight" for name in ("position", "token_type")], self.dtype
        ).values()
        self._type = types[0]
        self._norm = _norm(load, "embeddings.LayerNorm", self.dtype)
        form = linear_form(dtype, self.dtype, device, config.hidden_act)
        if batch_invariant:
            form = invariant_form(form, self.dtype, device)
        # One layer at a time: all weights as they are stored, beside those laid out, would be a second model in memory.
        self._layers = []
        for number in range(config.num_hidden_layers):
            last = number == config.num_hidden_layers - 1
            self._layers.append(_layer(load, f"encoder.layer.{number}.", form, self.dtype, last=last))
            give_back()
        self.nbytes = self._words.nbytes + self._positions.nbytes + sum(layer.nbytes for layer in self._layers)
        if dtype is Dtype.INT8:
            self._fix_ranges()

    @classmethod
    def load(cls, model: ModelRef, device: torch.device, dtype: Dtype, *, batch_invariant: bool = False) -> Encoder:
        """Read a pinned checkpoint's encoder; ``dtype`` is not ``auto``, and not int8 where it is to be invariant.

        Raises InputError where the folder is no longer a checkpoint, SurroundingsError where memory is too small.
        """
        folder = Path(model.path)
        config = parse_config(read_json(folder / "config.json"), model.path)
        tensors = account(stored_tensors(folder), config, model.path)

        def read(names: Sequence[str], stored_as: torch.dtype | None) -> dict[str, torch.Tensor]:
            loaded = load_weights({name: tensors[name] for name in names}, device, stored_as)
            return {name: loaded[name] for name in names}

        return cls(config, read, device, dtype, batch_invariant=batch_invariant)

    @torch.inference_mode()
    def forward(self, rows: Sequence[npt.NDArray[np.int32]], needs: Needs = LAST_TOKENS) -> States:
        """The hidden states that are needed of several documents, each attending to itself alone.

        Layers above those needed are not computed, and where the last is needed for the first token of each document
        only, it is computed for those, exactly as it would be. *Shape:* rows ``[documents][tokens]``, ids with special
        tokens.
        """
        ids, packing = pack(rows, self.device)
        hidden = self._embed(ids, packing)
        needs = needs.of(len(self._layers))
        wanted = needs.tokens | needs.firsts
        tokens: dict[int, torch.Tensor] = {}
        firsts: dict[int, torch.Tensor] = {}
        for number, layer in enumerate(self._layers):
            if number in wanted:
                tokens[number] = hidden[: packing.tokens]
            if number == max(wanted):
                break
            if layer.query is not None:
                (tokens if number + 1 in needs.tokens else firsts)[number + 1] = self._last(
                    layer, hidden, packing, first_only=number + 1 not in needs.tokens
                )
                break
            hidden = self._after_attention(layer, self._attend(layer, hidden, hidden, packing), hidden)
        return States(packing, len(self._layers), tokens, firsts)

    def shallow(self) -> Encoder:
        """The same encoder with its first and last layer only: enough to measure how fast layers are."""
        encoder = copy(self)
        encoder._layers = [*self._layers[:-1][:1], self._layers[-1]]
        return encoder

    def _fix_ranges(self) -> None:
        """Let each layer's inner map hand bytes to the outer one, in the range that a trial shows."""
        trial, watched = copy(self), [Watched(layer.inner) for layer in self._layers]
        trial._layers = [replace(layer, inner=inner) for layer, inner in zip(self._layers, watched, strict=True)]
        try:
            trial.forward(list(trial_rows(self.config.vocab_size, self.config.token_limit)))
        except FloatingPointError:
            return  # a model that is not finite: every document will say so
        for layer, inner in zip(self._layers, watched, strict=True):
            if isinstance(layer.inner, QuantizedLinear) and isinstance(layer.outer, QuantizedLinear):
                layer.inner.feed(layer.outer, inner.highest)

    @property
    def _heads(self) -> tuple[int, int]:
        return self.config.num_attention_heads, self.config.hidden_size // self.config.num_attention_heads

    def _embed(self, ids: torch.Tensor, packing: Packing) -> torch.Tensor:
        places = position_ids(packing, self.config.pad_token_id)
        embedded = self._words(ids) + self._type + F.embedding(places, self._positions)
        return self._normalize(embedded, self._norm)

    def _last(self, layer: Layer, hidden: torch.Tensor, packing: Packing, *, first_only: bool) -> torch.Tensor:
        """The last layer's vectors: of all tokens, or of the first of each document."""
        wanted = len(packing.lengths) if first_only else packing.tokens
        asked = hidden[_firsts(packing)] if first_only else hidden
        return self._after_attention(layer, self._attend(layer, hidden, asked, packing), asked)[:wanted]

    def _attend(self, layer: Layer, hidden: torch.Tensor, asked: torch.Tensor, packing: Packing) -> torch.Tensor:
        """What the rows that are ``asked`` read in their documents: all rows, or in the last layer the first ones."""
        if layer.query is None:
            query, key, value = layer.projected(hidden).view(len(hidden), 3, *self._heads).unbind(1)
        else:
            key, value = layer.projected(hidden).view(len(hidden), 2, *self._heads).unbind(1)
            query = layer.query(asked).view(len(asked), *self._heads)
        attend = packed_attention if asked is hidden else first_attention
        return attend(query, key, value, packing)

    def _after_attention(self, layer: Layer, attended: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        hidden = self._normalize(layer.attended.added(attended.flatten(1), hidden), layer.attended_norm)
        del attended  # the widest rows follow, and what is held beside them counts: no caller has a name for it either
        hidden = layer.outer.added(layer.inner.activated(hidden), hidden)
        return self._normalize(hidden, layer.outer_norm)

    def _normalize(self, hidden: torch.Tensor, norm: Affine) -> torch.Tensor:
        return F.layer_norm(hidden, hidden.shape[-1:], norm.weight, norm.bias, self.config.layer_norm_eps)


def _firsts(packing: Packing) -> torch.Tensor:
    """Where the documents begin, the last one as often as it takes to fill up the rows of a product."""
    starts = packing.cu_seqlens[:-1]
    more = computed_rows(len(starts), starts.device) - len(starts)
    return torch.cat([starts, starts[-1:].expand(more)]) if more else starts


def _words(load: Load, dtype: torch.dtype | None) -> Table:
    """The table of words, in bytes where no format is given: made from the file, not from a copy of it in memory."""
    name = "embeddings.word_embeddings.weight"
    rows = load([name], dtype)[name]
    return QuantizedTable(rows) if dtype is None else PlainTable(rows)


def _norm(load: Load, name: str, dtype: torch.dtype) -> Affine:
    return Affine(*load([f"{name}.weight", f"{name}.bias"], dtype).values())


def _layer(load: Load, place: str, form: LinearForm, dtype: torch.dtype, *, last: bool) -> Layer:
    def linear(*names: str) -> Linear:
        weights, biases = (
            list(load([f"{place}{name}.{kind}" for name in names], torch.float32).values())
            for kind in ("weight", "bias")
        )
        return form(torch.cat(weights), torch.cat(biases))

    query, key, value = (f"attention.self.{name}" for name in ("query", "key", "value"))
    return Layer(
        query=linear(query) if last else None,
        projected=linear(key, value) if last else linear(query, key, value),
        attended=linear("attention.output.dense"),
        attended_norm=_norm(load, f"{place}attention.output.LayerNorm", dtype),
        inner=linear("intermediate.dense"),
        outer=linear("output.dense"),
        outer_norm=_norm(load, f"{place}output.LayerNorm", dtype),
    )
