"""What a forward pass leaves for features to read."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pipelines.roberta.packing import Packing


@dataclass(frozen=True, slots=True)
class States:
    """The last layer's vectors of a micro-batch, in the encoder's number format.

    *Shape:* first ``[documents, hidden]``, of each ``<s>``; tokens ``[all tokens, hidden]``, or None where only the
    first ones were asked for: then the others were never computed.
    """

    packing: Packing
    first: torch.Tensor
    tokens: torch.Tensor | None

    def all_tokens(self) -> torch.Tensor:
        """``tokens``, for what cannot do without. Raises ValueError where they were not computed."""
        if self.tokens is None:
            raise ValueError("a feature reads tokens that it had not asked for: this is a bug")
        return self.tokens
