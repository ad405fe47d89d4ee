"""What every feature can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy.typing as npt
import pyarrow as pa

from pipelines.roberta.states import Needs, States
from pipelines.spec import FeatureSpec


class Feature(Protocol):
    """Something read off the last layer's token vectors, one value per document and column."""

    spec: FeatureSpec
    nbytes: int
    needs: Needs
    """The hidden states that it reads."""

    def fields(self) -> list[pa.Field]:
        """The dataset columns that this feature fills; their names are ``spec.columns``."""
        ...

    def compute(self, states: States) -> tuple[npt.NDArray[Any], ...]:
        """One array per column. *Shape:* each ``[documents, ...]``."""
        ...

    def columns(self, values: Sequence[npt.NDArray[Any]]) -> list[pa.Array]:
        """The arrays of :meth:`compute`, of any number of documents, as dataset columns."""
        ...
