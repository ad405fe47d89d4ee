"""The best answer in each row of a micro-batch: the stretch of tokens whose begin and end have the highest scores."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 (torch calls it so)

from pipelines.roberta.packing import Packing

NOWHERE = -1
"""The place of an answer in a row in which none can be."""


def best_answers(
    logits: torch.Tensor, packing: Packing, allowed: torch.Tensor, max_tokens: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The score of each row's best answer, its begin's logit plus its end's, and its first and last token in the row.

    An answer has at most ``max_tokens``, of which the first and the last are ``allowed``. Of equal ones it is that
    which begins first, then the shortest. Where there is none, the score is 0 and the places are :data:`NOWHERE`.

    *Shape:* logits ``[tokens, 2]``, float32, allowed ``[tokens]``, bool; results ``[rows]``.
    """
    device, tokens, rows = logits.device, len(logits), len(packing.lengths)
    starts = packing.cu_seqlens[:-1].long()
    lengths = packing.cu_seqlens.diff().long()
    row = torch.repeat_interleave(torch.arange(rows, device=device), lengths, output_size=tokens)
    nothing = float("-inf")
    begins = logits[:, 0].masked_fill(~allowed, nothing)
    reach = min(max_tokens, packing.max_length)
    ends = F.pad(logits[:, 1].masked_fill(~allowed, nothing), (0, reach - 1), value=nothing).unfold(0, reach, 1)
    steps = torch.arange(reach, device=device)
    same_row = steps < (starts[row] + lengths[row] - torch.arange(tokens, device=device))[:, None]
    ends = ends.masked_fill(~same_row, nothing)

    last = _first_best(ends)
    sums = begins + ends.gather(1, last[:, None])[:, 0]
    best = torch.full((rows,), nothing, device=device).scatter_reduce(0, row, sums, "amax")
    place = torch.arange(tokens, device=device).masked_fill((sums != best[row]) & ~sums.isnan(), tokens)
    begin = torch.full((rows,), tokens, device=device).scatter_reduce(0, row, place, "amin").clamp(max=tokens - 1)
    found = best != nothing
    first = begin - starts
    return (
        best.masked_fill(~found, 0.0),
        first.masked_fill(~found, NOWHERE).int(),
        (first + last[begin]).masked_fill(~found, NOWHERE).int(),
    )


def _first_best(scores: torch.Tensor) -> torch.Tensor:
    """The place of the first of the highest in each line. *Shape:* ``[lines, places]`` to ``[lines]``."""
    places = torch.arange(scores.shape[1], device=scores.device).expand_as(scores)
    highest = scores == scores.amax(dim=1, keepdim=True)
    return places.masked_fill(~highest, scores.shape[1] - 1).amin(dim=1)
