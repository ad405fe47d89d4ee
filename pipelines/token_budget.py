"""How much work one forward pass gets: what was given, or measured, and less where memory was too small for that.

Results do not depend on it but for the rounding of sums, and not at all where a run is batch-invariant.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, MutableMapping

import numpy as np
import numpy.typing as npt

from pipelines.batching import lowered_budget, micro_batches
from pipelines.calibration import calibrate
from pipelines.features.shared import SharedForward
from pipelines.spec import Dtype

logger = logging.getLogger(__name__)


class TokenBudget:
    """A budget in equivalent tokens (:mod:`pipelines.roberta.cost`); it never grows.

    ``known`` is where it is remembered, under ``key``; without a value there it is ``given``, or what ``choose`` says.
    """

    def __init__(self, known: MutableMapping[str, int], key: str, choose: Callable[[], int], given: int | None) -> None:
        self._known, self._key = known, key
        there = known.get(key)
        self.tokens = min(there, given or there) if there else given or choose()
        if there != self.tokens:
            known[key] = self.tokens

    def micro_batches(self, costs: npt.NDArray[np.float64], streams: int = 1) -> Iterator[npt.NDArray[np.intp]]:
        """As :func:`pipelines.batching.micro_batches`; what is handed out after the budget was lowered is cut anew."""
        tokens = self.tokens
        for group in micro_batches(costs, tokens, streams):
            if self.tokens < tokens:
                yield from (group[piece] for piece in self.micro_batches(costs[group]))
            else:
                yield group

    def lower(self, pieces: list[npt.NDArray[np.intp]], costs: npt.NDArray[np.float64]) -> None:
        """Memory was too small for a micro-batch; from now on they cost no more than the dearer of its halves."""
        lowered = lowered_budget(self.tokens, max(costs[piece].sum() for piece in pieces))
        if lowered < self.tokens:
            logger.warning("Memory was too small for a micro-batch; from now on they have %s tokens.", f"{lowered:,}")
            self._known[self._key] = self.tokens = lowered


def budget_of(
    forward: SharedForward, dtype: Dtype, *, given: int | None, known: MutableMapping[str, int]
) -> TokenBudget:
    """The budget of a forward pass, on the device where its encoder is."""
    key = f"{forward.model.encoder_digest[:12]} {dtype} {forward.encoder.device.type}"
    return TokenBudget(known, key, lambda: calibrate(forward.encoder), given)
