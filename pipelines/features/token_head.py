"""Heads that are one product with every token's last vector: token classifiers, and where answers begin and end."""

from __future__ import annotations

import torch

from pipelines.roberta.heads import Kind
from pipelines.roberta.invariant import invariant_form
from pipelines.roberta.linear import linear_form
from pipelines.roberta.needed_head import needed_head
from pipelines.roberta.weights import load_weights
from pipelines.spec import Dtype, ModelRef


class TokenHead:
    """A token classifier or a question answering head; float32 whatever the encoder's dtype: it costs little.

    Raises InputError where the checkpoint has no such head.
    """

    def __init__(self, model: ModelRef, kind: Kind, device: torch.device, *, batch_invariant: bool) -> None:
        tensors = needed_head(model, kind).tensors
        weights = load_weights(tensors, device, torch.float32)
        form = linear_form(Dtype.FLOAT32, torch.float32, device, "linear")
        if batch_invariant:
            form = invariant_form(form, torch.float32, device)
        (weight,) = (value for name, value in weights.items() if name.endswith(".weight"))
        (bias,) = (value for name, value in weights.items() if name.endswith(".bias"))
        self._product = form(weight, bias)
        self.nbytes = self._product.nbytes

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits. *Shape:* tokens ``[tokens, hidden]``, result ``[tokens, outputs]``, float32."""
        return self._product(tokens.float())
