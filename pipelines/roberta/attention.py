"""Attention within each document of a packed row: no padding, no mask, and nothing seen across a border."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 (torch calls it so)

from pipelines.roberta.packing import Packing

VARLEN_DTYPES = (torch.bfloat16, torch.float16)


def packed_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, packing: Packing) -> torch.Tensor:
    """Bidirectional attention of each document to itself, scaled by the root of the head size.

    *Shape:* query, key, value and result ``[tokens, heads, head size]``.
    """
    if _has_varlen_kernel(query):
        return _varlen(query, key, value, packing)
    return _by_runs(query, key, value, packing)


def _has_varlen_kernel(query: torch.Tensor) -> bool:
    """The kernel is flash attention: half precision, Ampere or newer, head sizes in eights up to 256."""
    size = query.shape[-1]
    return (
        query.is_cuda
        and query.dtype in VARLEN_DTYPES
        and size % 8 == 0
        and size <= 256
        and torch.cuda.get_device_capability(query.device) >= (8, 0)
    )


def _varlen(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, packing: Packing) -> torch.Tensor:
    from torch.nn.attention.varlen import varlen_attn

    offsets, longest = packing.cu_seqlens, packing.max_length
    # Only the seven positional arguments: what follows them differs between torch 2.11, 2.12 and 2.13.
    attended = varlen_attn(query, key, value, offsets, offsets, longest, longest)
    assert isinstance(attended, torch.Tensor), "varlen_attn returned more than its output: this is a bug"
    return attended


def _by_runs(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, packing: Packing) -> torch.Tensor:
    """One call per run of documents of equal length, as views of the packed row: works everywhere, in any dtype."""
    attended = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    for start, count, length in packing.runs:
        place = slice(start, start + count * length)
        q, k, v = (
            tensor[place].view(count, length, *tensor.shape[1:]).transpose(1, 2)  # [count, heads, length, head size]
            for tensor in (query, key, value)
        )
        outcome = F.scaled_dot_product_attention(q, k, v)
        attended[place].view(count, length, *query.shape[1:]).copy_(outcome.transpose(1, 2))
    return attended
