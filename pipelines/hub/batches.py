"""Rows of ids of different lengths: padded to one tensor for people, packed without padding for the encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pipelines.hub.arguments import TokensError, checked_tokens
from pipelines.roberta.config import EncoderConfig

PAD = 1


def collate_tokens(rows: Sequence[torch.Tensor], pad_idx: int = PAD, left_pad: bool = False) -> torch.Tensor:
    """Rows of ids as one batch, filled up with ``pad_idx``; called as fairseq's function of this name.

    *Shape:* rows ``[tokens]`` each, result int64 ``[rows, longest]``. Raises TokensError, a ValueError, where there are
    none, or one is no row.
    """
    rows = [checked_tokens(row, f"Row {number}") for number, row in enumerate(rows)]
    if not rows:
        raise TokensError("There are no rows of ids to put together.", "Give at least one, such as encode() makes.")
    for number, row in enumerate(rows):
        if row.dim() != 1:
            raise TokensError(f"Row {number} has shape {list(row.shape)}, wanted one row of ids.", "Give each alone.")
    batch = torch.full((len(rows), max(map(len, rows))), pad_idx, dtype=torch.int64, device=rows[0].device)
    for number, row in enumerate(rows):
        place = slice(batch.shape[1] - len(row), None) if left_pad else slice(len(row))
        batch[number, place] = row
    return batch


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Ids without padding, and where they were. *Shape:* real (bool) ``[rows, longest]``, rows ``[rows][tokens]``."""

    real: torch.Tensor
    rows: list[npt.NDArray[np.int32]]

    def padded(self, packed: torch.Tensor) -> torch.Tensor:
        """Vectors of the packed tokens where the tokens were, float32 and zeros where there was padding.

        *Shape:* packed ``[all tokens, width]``, result ``[rows, longest, width]``.
        """
        vectors = torch.zeros((*self.real.shape, packed.shape[-1]), device=packed.device)
        vectors[self.real.to(packed.device)] = packed.float()
        return vectors


def token_batch(tokens: torch.Tensor, config: EncoderConfig) -> TokenBatch:
    """Take a row or a padded batch of ids apart. *Shape:* tokens ``[tokens]`` or ``[rows, longest]``, whole numbers.

    Raises TokensError where a row is longer than the model's limit (padding counts), or empty, or has an id that the
    model does not have.
    """
    if checked_tokens(tokens).dim() not in (1, 2):
        raise TokensError(
            f"Tokens have shape {list(tokens.shape)}, wanted 1-D or 2-D.", "Give a row, or what collate_tokens() makes."
        )
    ids = tokens.detach().cpu()
    ids = ids if ids.dim() == 2 else ids[None]
    if ids.shape[1] > config.token_limit:
        raise TokensError(
            f"tokens exceeds maximum length: {ids.shape[1]} > {config.token_limit}.",
            "Give a shorter text, or parts of it.",
        )
    real = ids != config.pad_token_id
    if not bool(real.any(dim=1).all()) or not len(ids):
        raise TokensError("A row has no tokens: even an empty text has <s> and </s>.", "encode() makes a row.")
    if int(ids.min()) < 0 or int(ids.max()) >= config.vocab_size:
        raise TokensError(
            f"An id is not in 0 to {config.vocab_size - 1}, the model's vocabulary.", "Encode the text with this model."
        )
    rows = [row[kept].numpy().astype(np.int32) for row, kept in zip(ids, real, strict=True)]
    return TokenBatch(real, rows)
