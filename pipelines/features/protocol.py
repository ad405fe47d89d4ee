"""What every feature can do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
import torch

from pipelines.readings.inputs import Rows
from pipelines.roberta.states import Needs, States
from pipelines.spec import FeatureSpec

Values = Any
"""What a feature keeps of some rows, one item each: an array ``[rows, ...]`` where all are alike, else a list.

Made as a tensor on the device, or as :class:`ByRow`, which is fetched when the device has it; kept, and read, as an
array or a list.
"""


@dataclass(frozen=True, slots=True)
class ByRow:
    """Something of each token of a micro-batch, which becomes one array for each row when it is fetched.

    *Shape:* values ``[all tokens, ...]``, lengths ``[rows]``, in tokens.
    """

    values: torch.Tensor
    lengths: tuple[int, ...]


class Feature(Protocol):
    """Something read off a forward pass: some values for each row of ids, and columns made of a document's rows."""

    spec: FeatureSpec
    nbytes: int
    needs: Needs
    """The hidden states that it reads."""

    def fields(self) -> list[pa.Field]:
        """The dataset columns that this feature fills; their names are ``spec.columns``."""
        ...

    def compute(self, states: States, notes: Sequence[Any]) -> tuple[Values, ...]:
        """What is kept of the rows of a micro-batch; ``notes`` are the reading's, one for each row.

        Nothing in it waits for the device: what goes there does by :func:`pipelines.roberta.packing.on_device`.
        Floats that are not finite reject their documents.
        """
        ...

    def columns(self, values: Sequence[Values], rows: Rows) -> list[pa.Array]:
        """What was kept of any documents' rows, as dataset columns: one value per document."""
        ...
