"""What every feature can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy.typing as npt
import pyarrow as pa
import torch

from pipelines.roberta.packing import Packing
from pipelines.spec import FeatureSpec


class Feature(Protocol):
    """Something read off the last layer's token vectors, one value per document and column."""

    spec: FeatureSpec
    nbytes: int

    def fields(self) -> list[pa.Field]:
        """The dataset columns that this feature fills; their names are ``spec.columns``."""
        ...

    def compute(self, hidden: torch.Tensor, packing: Packing) -> tuple[npt.NDArray[Any], ...]:
        """One array per column. *Shape:* hidden ``[tokens, hidden]``; each result ``[documents, ...]``."""
        ...

    def columns(self, values: Sequence[npt.NDArray[Any]]) -> list[pa.Array]:
        """The arrays of :meth:`compute`, of any number of documents, as dataset columns."""
        ...
