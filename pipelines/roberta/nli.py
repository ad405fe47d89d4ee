"""Which classes of a classifier say that a sentence follows from another, and that it contradicts it."""

from __future__ import annotations

from collections.abc import Sequence

ENTAILMENT, CONTRADICTION = "entail", "contra"
"""How the names of the classes begin, in any case: models differ in the rest and in the order."""


def entailment_class(labels: Sequence[str]) -> int | None:
    """The class of entailment, or None where the labels are those of something else."""
    return _first(labels, ENTAILMENT)


def contradiction_class(labels: Sequence[str]) -> int | None:
    """The class that entailment is weighed against: contradiction's, or the only other one there is; else None.

    transformers' pipeline takes the first class, or the last where entailment is the first, whatever its name.
    """
    found = _first(labels, CONTRADICTION)
    entailment = entailment_class(labels)
    if found is None and entailment is not None and len(labels) == 2:
        return 1 - entailment
    return found


def _first(labels: Sequence[str], begin: str) -> int | None:
    return next((number for number, label in enumerate(labels) if label.lower().startswith(begin)), None)
