"""The activations that a config may name (``hidden_act``), as torch computes them and as oneDNN does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812 (torch calls it so)

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
FUSED: Mapping[str, tuple[str, str]] = {
    "gelu": ("gelu", "none"),
    "gelu_python": ("gelu", "none"),
    "gelu_new": ("gelu", "tanh"),
    "gelu_fast": ("gelu", "tanh"),
    "gelu_pytorch_tanh": ("gelu", "tanh"),
    "relu": ("relu", ""),
    "silu": ("swish", ""),
    "swish": ("swish", ""),
    "tanh": ("tanh", ""),
    "linear": ("none", ""),
}
"""Those that oneDNN applies inside a product: its name for each, and the variant."""
LOWEST: Mapping[str, float] = {
    "gelu": -0.17,
    "gelu_python": -0.17,
    "gelu_new": -0.1701,
    "gelu_fast": -0.1701,
    "gelu_pytorch_tanh": -0.1701,
    "relu": 0.0,
    "silu": -0.2785,
    "swish": -0.2785,
}
"""The lowest number that these give, to four digits; of those that oneDNN applies."""
