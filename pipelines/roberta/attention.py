"""Attention within each document of a packed row: no padding, no mask, and nothing seen across a border."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 (torch calls it so)

from pipelines.roberta.packing import Packing

VARLEN_DTYPES = (torch.bfloat16, torch.float16)


def packed_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, packing: Packing) -> torch.Tensor:
    """Bidirectional attention of each document to itself, scaled by the root of the head size.

    *Shape:* query, key, value and result ``[rows, heads, head size]``.
    """
    if _has_varlen_kernel(query):
        offsets, longest = packing.cu_seqlens, packing.max_length
        return _varlen(query, key, value, (offsets, offsets), (longest, longest))
    return _by_runs(query, key, value, packing)


def first_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, packing: Packing) -> torch.Tensor:
    """As :func:`packed_attention`, of the first token of each document only.

    *Shape:* query and result ``[documents, heads, head size]``, key and value ``[rows, heads, head size]``. There may
    be more queries than documents: these get what the last document gets.
    """
    if _has_varlen_kernel(query):
        counted = torch.arange(len(query) + 1, dtype=torch.int32, device=query.device)
        return _varlen(query, key, value, (counted, packing.cu_seqlens), (1, packing.max_length))
    attended = torch.empty_like(query)
    for (start, count, length), first in zip(packing.runs, packing.run_documents(), strict=True):
        place, documents = slice(start, start + count * length), slice(first, first + count)
        k, v = (_by_document(tensor[place], count, length) for tensor in (key, value))
        outcome = F.scaled_dot_product_attention(query[documents].unsqueeze(2), k, v)  # [count, heads, 1, head size]
        attended[documents] = outcome.squeeze(2)
    count = len(packing.lengths)
    attended[count:] = attended[count - 1]
    return attended


def _by_document(tensor: torch.Tensor, count: int, length: int) -> torch.Tensor:
    """A run of documents. *Shape:* ``[count, heads, length, head size]``, a view."""
    return tensor.view(count, length, *tensor.shape[1:]).transpose(1, 2)


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


def _varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    offsets: tuple[torch.Tensor, torch.Tensor],
    longest: tuple[int, int],
) -> torch.Tensor:
    from torch.nn.attention.varlen import varlen_attn

    # Only the seven positional arguments: what follows them differs between torch 2.11, 2.12 and 2.13. Bits do not
    # depend on the documents beside one: torch's flash attention 2 splits keys only where they are paged or heads are
    # grouped (aten/src/ATen/native/transformers/cuda/flash_attn/flash_api.cpp at 03b7c19, mha_varlen_fwd).
    attended = varlen_attn(query, key, value, *offsets, *longest)
    assert isinstance(attended, torch.Tensor), "varlen_attn returned more than its output: this is a bug"
    return attended


def _by_runs(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, packing: Packing) -> torch.Tensor:
    """One call per run of documents of equal length, as views of the packed row: works everywhere, in any dtype."""
    attended = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    for start, count, length in packing.runs:
        place = slice(start, start + count * length)
        q, k, v = (_by_document(tensor[place], count, length) for tensor in (query, key, value))
        outcome = F.scaled_dot_product_attention(q, k, v)
        _by_document(attended[place], count, length).copy_(outcome)
    attended[packing.tokens :] = attended[packing.tokens - 1]
    return attended
