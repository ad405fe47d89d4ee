"""What the features keep of a micro-batch, on its way from the device to numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch

from pipelines.features.protocol import ByRow, Values

Fetched = list[tuple[Values, ...]]
"""What each feature keeps of a micro-batch, in order: arrays ``[rows, ...]`` or lists."""


class Outcome(Protocol):
    """What a forward pass gives, now or later."""

    @property
    def is_ready(self) -> bool:
        """Whether :meth:`values` need not wait."""
        ...

    def values(self) -> Fetched:
        """Waits; raises what the pass failed with."""
        ...

    def drop(self) -> None:
        """Nobody will ask for it any more. When this returns nothing of it is computed on a CPU."""
        ...


class Fetch:
    """Copies of the features' tensors, begun but not waited for; lists and arrays are there as they are.

    From CUDA they go to pinned memory in the stream's own order, behind the kernels that make them, so that nothing
    waits until somebody asks.
    """

    def __init__(self, computed: Sequence[tuple[Values, ...]]) -> None:
        on_cuda = any(_is_on_cuda(value) for values in computed for value in values)
        self._values = [tuple(_begun(value) for value in values) for values in computed]
        self._event: Any = torch.cuda.Event() if on_cuda else None  # type: ignore[no-untyped-call]  # it has no types
        if self._event is not None:
            self._event.record()

    @property
    def is_ready(self) -> bool:
        """Whether :meth:`values` need not wait; what the device failed with is there at once, and it raises that."""
        try:
            return self._event is None or bool(self._event.query())
        except RuntimeError:
            return True

    def values(self) -> Fetched:
        """Waits; raises what the device raises."""
        if self._event is not None:
            self._event.synchronize()
        return [tuple(map(self._arrays, values)) for values in self._values]

    def drop(self) -> None:
        """Kernels that CUDA has begun run on: nothing can take them back."""

    def _arrays(self, value: Values) -> Values:
        if isinstance(value, ByRow):
            array = value.values.numpy()
            if self._event is not None:  # the pieces are kept as they are, and pinned memory is dear
                array = array.copy()
            return np.split(array, np.cumsum(value.lengths)[:-1])
        return value.numpy() if isinstance(value, torch.Tensor) else value


def _is_on_cuda(value: Values) -> bool:
    tensor = value.values if isinstance(value, ByRow) else value
    return isinstance(tensor, torch.Tensor) and tensor.device.type == "cuda"


def _begun(value: Values) -> Values:
    if not _is_on_cuda(value):
        return value
    if isinstance(value, ByRow):
        return ByRow(_begun(value.values), value.lengths)
    return torch.empty_like(value, device="cpu", pin_memory=True).copy_(value, non_blocking=True)
