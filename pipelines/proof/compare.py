"""How far rows are from the oracle's, and how far they may be: docs/proof.md has the reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipelines.parts.proof_record import Proof
from pipelines.spec import Dtype, Storage

Vector = npt.NDArray[np.float32]
WORST_DISTANCE = 2.0
"""Of vectors that point away from each other, and of those that cannot be compared."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a number format may cost: cosine distance, relative difference in length, difference of a probability."""

    cosine_distance: float
    length_difference: float
    probability_difference: float

    @property
    def clear_margin(self) -> float:
        """Between two classes so far apart, no difference that is allowed changes which is the best."""
        return 2 * self.probability_difference


BOUNDS = {
    Dtype.FLOAT32: Bounds(1e-7, 1e-4, 1e-4),
    Dtype.BFLOAT16: Bounds(1e-3, 0.01, 0.05),
    Dtype.FLOAT16: Bounds(1e-3, 0.01, 0.05),
    Dtype.INT8: Bounds(1e-2, 0.05, 0.2),
}


@dataclass(frozen=True, slots=True)
class Rounding:
    """What the way that vectors are stored adds to what the number format may cost."""

    cosine_distance: float
    length_difference: float


ROUNDING = {
    Storage.FLOAT32: Rounding(0.0, 0.0),
    Storage.FLOAT16: Rounding(1e-6, 1e-3),
    Storage.INT8: Rounding(1e-3, 1e-2),
    Storage.BINARY: Rounding(0.05, 0.0),
}


@dataclass(slots=True)
class Comparison:
    """The worst differences so far, and what was above its bound: in words, with how many times the bound it is."""

    bounds: Bounds
    documents: int = 0
    max_cosine_distance: float | None = None
    max_length_difference: float | None = None
    max_probability_difference: float | None = None
    max_score_difference: float | None = None
    label_flips: int | None = None
    allowed_cosine_distance: float = 0.0
    values: int = 0
    faults: list[tuple[float, str]] = field(default_factory=list)

    def embedding(self, where: str, found: Vector, wanted: Vector, storage: Storage = Storage.FLOAT32) -> None:
        """One embedding of a part and the oracle's. *Shape:* ``[hidden]`` each."""
        rounding = ROUNDING[storage]
        distance, longer = cosine_distance(found, wanted), length_difference(found, wanted)
        self.max_cosine_distance = max(self.max_cosine_distance or 0.0, distance)
        self.max_length_difference = max(self.max_length_difference or 0.0, longer)
        allowed = self.bounds.cosine_distance + rounding.cosine_distance
        self.allowed_cosine_distance = max(self.allowed_cosine_distance, allowed)
        self._fault(where, "at cosine distance", distance, allowed)
        self._fault(where, "in length apart by", longer, self.bounds.length_difference + rounding.length_difference)

    def labels(self, where: str, label: str, found: Vector, names: tuple[str, ...], wanted: Vector) -> None:
        """One label of a part with its probabilities, and the oracle's. *Shape:* ``[classes]`` each."""
        self._probabilities(where, found, wanted)
        ranked = np.sort(wanted)
        margin = float(ranked[-1] - ranked[-2]) if len(ranked) > 1 else 1.0
        best = names[int(wanted.argmax())]
        if label != best and margin > self.bounds.clear_margin:
            self._flip()
            what = f"{where} is {label!r}, plain transformers says {best!r} by a margin of {margin:.2g}"
            self.faults.append((margin / self.bounds.clear_margin, f"{what} ({self.bounds.clear_margin:.2g} is clear)"))

    def multi_labels(
        self, where: str, given: Sequence[str], found: Vector, names: Sequence[str], limits: Sequence[float],
        wanted: Vector,
    ) -> None:  # fmt: skip
        """The labels above their thresholds with all probabilities, and the oracle's. *Shape:* ``[classes]`` each."""
        self._probabilities(where, found, wanted)
        for name, limit, probability in zip(names, limits, wanted.tolist(), strict=True):
            margin = abs(probability - limit)
            if (name in given) != (probability >= limit) and margin > self.bounds.probability_difference:
                self._flip()
                what = f"{where} {'has' if name in given else 'lacks'} {name!r}, plain transformers says otherwise"
                self.faults.append((margin / self.bounds.probability_difference, f"{what} by a margin of {margin:.2g}"))

    def verdict(self, where: str, found: str, wanted: str, margin: float, clear: float) -> None:
        """Something is of another kind than it should be, by a margin that is clearly more than what is allowed."""
        self._flip()
        what = f"{where} is {found!r}, plain transformers says {wanted!r} by a margin of {margin:.2g}"
        self.faults.append((margin / clear, f"{what} ({clear:.2g} is clear)"))

    def scores(self, where: str, difference: float) -> None:
        """By how much scores of a document are others than the oracle's, in the mean."""
        self._score(where, "in its scores apart by", difference)

    def number(self, where: str, found: float, wanted: float) -> None:
        """A regression's number and the oracle's: apart by no more than a probability may be, or that part of it."""
        self._score(where, "apart by", abs(found - wanted) / max(1.0, abs(wanted)))

    def tokens(self, where: str, found: int, wanted: int) -> None:
        """How many tokens of a document the part says were used, and how many the oracle takes."""
        if found != wanted:
            self.faults.insert(0, (float("inf"), f"{where} was made of {found} tokens, plain transformers of {wanted}"))

    def worst(self) -> str:
        """What is furthest above its bound, in words; empty where nothing is."""
        return max(self.faults, key=lambda fault: fault[0])[1] if self.faults else ""

    def proof(self, seconds: float) -> Proof:
        """What the manifest says of it."""
        return Proof(
            documents=self.documents,
            max_cosine_distance=self.max_cosine_distance,
            max_length_difference=self.max_length_difference,
            max_probability_difference=self.max_probability_difference,
            max_score_difference=self.max_score_difference,
            values=self.values,
            label_flips=self.label_flips,
            allowed_cosine_distance=self.allowed_cosine_distance or self.bounds.cosine_distance,
            allowed_length_difference=self.bounds.length_difference,
            allowed_probability_difference=self.bounds.probability_difference,
            clear_margin=self.bounds.clear_margin,
            seconds=round(seconds, 3),
        )

    def _probabilities(self, where: str, found: Vector, wanted: Vector) -> None:
        self.label_flips = self.label_flips or 0
        difference = float(np.nan_to_num(np.abs(found - wanted), nan=1.0, posinf=1.0).max())
        self.max_probability_difference = max(self.max_probability_difference or 0.0, difference)
        self._fault(where, "in a probability apart by", difference, self.bounds.probability_difference)

    def _score(self, where: str, what: str, difference: float) -> None:
        value = difference if np.isfinite(difference) else 1.0
        self.max_score_difference = max(self.max_score_difference or 0.0, value)
        self._fault(where, what, value, self.bounds.probability_difference)

    def _flip(self) -> None:
        self.label_flips = (self.label_flips or 0) + 1

    def _fault(self, where: str, what: str, value: float, allowed: float) -> None:
        self.values += 1
        if value > allowed:
            text = f"{where} is {what} {value:.2g} from plain transformers in float32, {allowed:.2g} is allowed"
            self.faults.append((value / allowed, text))


def cosine_distance(found: Vector, wanted: Vector) -> float:
    """1 − cosine, in float64: 0 for the same direction, 2 for the opposite and for what has none."""
    a, b = found.astype(np.float64), wanted.astype(np.float64)
    if np.array_equal(a, b):
        return 0.0
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    distance = 1 - float(a @ b) / lengths if np.isfinite(lengths) and lengths > 0 else WORST_DISTANCE
    return max(0.0, distance)


def length_difference(found: Vector, wanted: Vector) -> float:
    """By which part of the wanted length the found one is longer or shorter; 1 where that says nothing."""
    a, b = (float(np.linalg.norm(vector.astype(np.float64))) for vector in (found, wanted))
    if a == b:
        return 0.0
    return abs(a / b - 1) if np.isfinite(a) and np.isfinite(b) and b > 0 else 1.0
