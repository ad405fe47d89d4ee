"""What a forward pass leaves for features to read, and what they have to ask for before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from pipelines.roberta.packing import Packing

LAST = -1


@dataclass(frozen=True, slots=True)
class Needs:
    """The hidden states that are read: of which layers all tokens, and of which the ``<s>`` alone.

    Layers are numbered as transformers numbers hidden states: 0 is what the embeddings give, n what the n-th layer
    gives; negative numbers count from the last, which is -1.
    """

    tokens: frozenset[int] = frozenset()
    firsts: frozenset[int] = frozenset()

    def of(self, layers: int) -> Needs:
        """The same with no negative numbers, for an encoder of so many layers. Raises ValueError for others."""
        return Needs(
            *(frozenset(layer_number(number, layers) for number in set_) for set_ in (self.tokens, self.firsts))
        )

    @classmethod
    def union(cls, needs: Iterable[Needs]) -> Needs:
        """What several need together."""
        tokens, firsts = frozenset[int](), frozenset[int]()
        for need in needs:
            tokens, firsts = tokens | need.tokens, firsts | need.firsts
        return cls(tokens, firsts)


LAST_TOKENS = Needs(tokens=frozenset({LAST}))
LAST_FIRST = Needs(firsts=frozenset({LAST}))


def layer_number(number: int, layers: int) -> int:
    """A hidden state's number from 0 to ``layers``. Raises ValueError where the encoder has no such state."""
    if not -layers - 1 <= number <= layers:
        raise ValueError(f"there is no hidden state {number} of {layers} layers")
    return number % (layers + 1)


@dataclass(frozen=True, slots=True)
class States:
    """Hidden states of a micro-batch, in the encoder's number format; ``layers`` is how many the encoder has.

    What nobody asked for was not kept, and the last layer not even computed where it was asked for ``<s>`` only.
    """

    packing: Packing
    layers: int
    kept_tokens: Mapping[int, torch.Tensor]
    kept_firsts: Mapping[int, torch.Tensor]

    def tokens(self, layer: int = LAST) -> torch.Tensor:
        """All tokens of a layer, *shape* ``[all tokens, hidden]``. Raises ValueError where they were not asked for."""
        try:
            return self.kept_tokens[layer_number(layer, self.layers)]
        except KeyError:
            raise ValueError(f"a feature reads tokens of layer {layer} that it had not asked for: a bug") from None

    def first(self, layer: int = LAST) -> torch.Tensor:
        """The ``<s>`` of each document, *shape* ``[documents, hidden]``. Raises ValueError as :meth:`tokens` does."""
        kept = self.kept_firsts.get(layer_number(layer, self.layers))
        return self.tokens(layer)[self.packing.cu_seqlens[:-1]] if kept is None else kept
