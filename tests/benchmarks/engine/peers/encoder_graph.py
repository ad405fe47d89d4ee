"""The encoder as a module of two inputs and one output: what is traced for OpenVINO and exported to ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel

NAMES = ("input_ids", "attention_mask")


class EncoderGraph(torch.nn.Module):
    """Ids and mask in, the last layer's token vectors out."""

    def __init__(self, model: Path, attention: str) -> None:
        super().__init__()
        self.encoder = AutoModel.from_pretrained(model, add_pooling_layer=False, attn_implementation=attention).eval()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        """*Shape:* inputs ``[documents, tokens]``; result ``[documents, tokens, hidden]``."""
        return self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


def example() -> tuple[torch.Tensor, torch.Tensor]:
    """Two documents, the second one shorter."""
    ids, mask = torch.randint(5, 200, (2, 16)), torch.ones(2, 16, dtype=torch.long)
    mask[1, 10:] = 0
    return ids, mask
