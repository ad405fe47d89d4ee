"""The language model head: from a token's last hidden state to a score for each piece of the vocabulary.

As transformers' RobertaLMHead (https://github.com/huggingface/transformers, ``models/roberta/modeling_roberta.py``):
dense, GELU (the exact one, whatever the encoder's activation is), layer norm, and a product with the word embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 (torch calls it so)

from pipelines.errors import InputError
from pipelines.roberta.config import EncoderConfig, parse_config, read_json
from pipelines.roberta.heads import heads_of, in_words
from pipelines.roberta.invariant import invariant_form
from pipelines.roberta.layout import plain_name
from pipelines.roberta.linear import LinearForm, linear_form
from pipelines.roberta.tensors import FLOATS, Tensor, stored_tensors
from pipelines.roberta.weights import load_weights
from pipelines.spec import Dtype, ModelRef

DENSE, NORM, DECODER = "lm_head.dense", "lm_head.layer_norm", "lm_head.decoder"
EMBEDDINGS = "embeddings.word_embeddings.weight"
AT_ONCE = 128
"""Tokens whose scores are in memory at once: each takes four bytes per piece of the vocabulary, twice."""


class LMHead:
    """Scores of the whole vocabulary for chosen tokens.

    The head is float32 whatever the encoder's dtype; for ever so many tokens it would cost as much as layers do, so
    only those are computed that are asked for, and each takes four bytes per piece of the vocabulary.
    """

    def __init__(self, weights: Mapping[str, torch.Tensor], epsilon: float, form: LinearForm) -> None:
        """``weights`` are float32, by the names of :func:`lm_head_of`."""
        self._dense = form(weights[f"{DENSE}.weight"], weights[f"{DENSE}.bias"])
        self._norm, self._norm_bias = weights[f"{NORM}.weight"], weights[f"{NORM}.bias"]
        self._decoder = form(weights[f"{DECODER}.weight"], weights[f"{DECODER}.bias"])
        self._epsilon = epsilon
        self.nbytes = self._dense.nbytes + self._decoder.nbytes

    @classmethod
    def load(cls, model: ModelRef, device: torch.device, *, batch_invariant: bool = False) -> LMHead:
        """Read a pinned checkpoint's head. Raises InputError where it has none, naming what it has."""
        folder = Path(model.path)
        document = read_json(folder / "config.json")
        config = parse_config(document, model.path)
        stored = stored_tensors(folder)
        tensors = lm_head_of(stored, config, model.path, tied=document.get("tie_word_embeddings", True) is not False)
        if not tensors:
            raise InputError(
                f"{model.source} has no language model head, it is {in_words(heads_of(stored, config, model.path))}.",
                "Name a model with one, such as FacebookAI/roberta-base.",
            )
        form = linear_form(Dtype.FLOAT32, torch.float32, device, "gelu")
        if batch_invariant:
            form = invariant_form(form, torch.float32, device, piece_rows=AT_ONCE)
        return cls(load_weights(tensors, device, torch.float32), config.layer_norm_eps, form)

    @torch.inference_mode()
    def logits(self, vectors: torch.Tensor) -> torch.Tensor:
        """Scores before the softmax, *shape* ``[tokens, vocabulary]``, of the last layer's ``[tokens, hidden]``."""
        inner = self._dense.activated(vectors.float())
        return self._decoder(F.layer_norm(inner, inner.shape[-1:], self._norm, self._norm_bias, self._epsilon))

    def log_probabilities(self, vectors: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """The log probability of one piece for each token. *Shape:* ids int64 ``[tokens]``, result ``[tokens]``."""
        with torch.inference_mode():
            return F.log_softmax(self.logits(vectors), dim=-1).gather(1, ids[:, None])[:, 0]


def lm_head_of(tensors: Mapping[str, Tensor], config: EncoderConfig, place: str, *, tied: bool) -> dict[str, Tensor]:
    """The tensors of a language model head: dense, layer norm, decoder, each weight and bias; none where there is none.

    A decoder that is stored is used; without one it is the word embeddings, as the config says with
    ``tie_word_embeddings``. Raises InputError where the head is not whole or does not fit the encoder.
    """
    plain = {plain_name(name): tensor for name, tensor in tensors.items()}
    if not any(name.startswith("lm_head.") for name in plain):
        return {}
    weight, bias = f"{DECODER}.weight", f"{DECODER}.bias"
    hidden, vocabulary = config.hidden_size, config.vocab_size
    sources = {
        **{name: name for part in (DENSE, NORM) for name in (f"{part}.weight", f"{part}.bias")},
        weight: EMBEDDINGS if tied and weight not in plain else weight,
        bias: bias if bias in plain else "lm_head.bias",
    }
    shapes = {
        f"{DENSE}.weight": (hidden, hidden), f"{DENSE}.bias": (hidden,),
        f"{NORM}.weight": (hidden,), f"{NORM}.bias": (hidden,),
        weight: (vocabulary, hidden), bias: (vocabulary,),
    }  # fmt: skip
    head = {}
    for name, source in sources.items():
        tensor = plain.get(source)
        if tensor is None:
            raise InputError(f"{place} lacks tensor {source!r} of its language model head.", "Copy the model again.")
        if tensor.shape != shapes[name] or tensor.dtype not in FLOATS:
            found = f"{tensor.dtype} {list(tensor.shape)}"
            raise InputError(f"{place} has tensor {source!r} as {found}, wanted floats of shape {list(shapes[name])}.")
        head[name] = tensor
    return head
