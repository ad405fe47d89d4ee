"""The table of word embeddings, in the number format of a run.

Of roberta-base it is 154 MB of 498, of xlm-roberta-base 768 of 1,112 (float32).
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812 (torch calls it so)

from pipelines.roberta.quantized import row_scales

STRETCH = 4096
"""Rows that are made bytes at a time: their floats lie beside the table meanwhile."""


class Table(Protocol):
    """A row for each id. *Shape:* ids ``[tokens]``, result ``[tokens, hidden]``."""

    nbytes: int

    def __call__(self, ids: torch.Tensor) -> torch.Tensor: ...


class PlainTable:
    """The rows as they are computed with."""

    def __init__(self, rows: torch.Tensor) -> None:
        self._rows = rows
        self.nbytes = rows.nbytes

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        return F.embedding(ids, self._rows)


class QuantizedTable:
    """Signed bytes with one scale for each row, as int8 keeps weights: a quarter of the memory.

    The rows are read once, and may be a map of a file, in any format of numbers. A row with a number that is not finite
    gives none that is: whoever looks it up is told, and nobody else.
    """

    def __init__(self, rows: torch.Tensor) -> None:
        self._scales = torch.empty(len(rows), 1)
        self._data = torch.empty(rows.shape, dtype=torch.int8)
        stretches = (torch.split(tensor, STRETCH) for tensor in (rows, self._data, self._scales))
        for stretch, data, scales in zip(*stretches, strict=True):
            scales.copy_(row_scales(stretch)[:, None])
            data.copy_(torch.round(stretch.float() / scales))
        self.nbytes = self._data.nbytes + self._scales.nbytes

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        return self._data[ids] * self._scales[ids]
