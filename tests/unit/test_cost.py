"""The cost of a document is what it takes of a forward pass, by the count that torch itself makes of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import RobertaConfig, RobertaModel

from pipelines.batching import micro_batches
from pipelines.roberta.config import parse_config
from pipelines.roberta.cost import token_costs

SHAPES = {"tiny": (48, 3, 4, 80), "wide": (64, 1, 2, 256)}


def flops(config: RobertaConfig, tokens: int) -> int:
    """Of a forward pass of transformers over one document."""
    model = RobertaModel._from_config(config, attn_implementation="eager").eval()
    model.pooler = None
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(torch.full((1, tokens), 7))
    return counter.get_total_flops()


@pytest.mark.parametrize("shape", SHAPES)
def test_documents_cost_in_proportion_to_their_operations(shape: str) -> None:
    hidden, layers, heads, inner = SHAPES[shape]
    config = RobertaConfig(
        vocab_size=20,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        max_position_embeddings=514,
    )
    lengths = [1, 17, 64, 512]
    costs = token_costs(lengths, parse_config(config.to_dict(), "a test"))
    per_token = 2 * layers * (4 * hidden * hidden + 2 * hidden * inner)
    assert costs * per_token == pytest.approx([flops(config, tokens) for tokens in lengths], rel=1e-9)


def test_a_micro_batch_of_long_documents_has_fewer_tokens() -> None:
    base = parse_config(RobertaConfig().to_dict(), "base")
    assert token_costs([512, 64], base).tolist() == pytest.approx([512 + 512**2 / 4608, 64 + 64**2 / 4608])
    lengths = np.repeat([512, 64], [40, 320])
    groups = micro_batches(token_costs(lengths, base), 4096)
    tokens = [int(lengths[group].sum()) for group in groups]
    assert (tokens[0], max(tokens)) == (7 * 512, 63 * 64)
