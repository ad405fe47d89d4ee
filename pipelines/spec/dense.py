"""A dense layer behind the pooling, as sentence-transformers has them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Activation(StrEnum):
    """What follows a dense layer's product, by the name of its class in ``torch.nn``."""

    IDENTITY = "Identity"
    TANH = "Tanh"
    RELU = "ReLU"
    GELU = "GELU"
    SIGMOID = "Sigmoid"


@dataclass(frozen=True, slots=True)
class Dense:
    """``activation(vector @ weight.T + bias)``: its folder within the model's, the digest of its tensors, the numbers
    that it gives.
    """

    folder: str
    digest: str
    outputs: int
    activation: Activation = Activation.IDENTITY

    @classmethod
    def from_json(cls, value: dict[str, object]) -> Dense:
        """From its fields as JSON. Raises KeyError or ValueError where they are something else."""
        activation = Activation(str(value.get("activation", Activation.IDENTITY)))
        return cls(str(value["folder"]), str(value["digest"]), int(str(value["outputs"])), activation)
