"""What the manifest says of the proof: how far a few rows are from what plain transformers computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof that was made, or (``not_made``) why there is none.

    The figures are the worst over ``documents``, None where the run has no such feature: cosine distance and
    relative difference in length of embeddings, difference of a class's probability, and labels that differ though the
    oracle's two best classes are more than ``clear_margin`` apart. ``allowed_…`` are the bounds they were held against;
    scores that are no probabilities, and the numbers of a regression, are held against that of probabilities.
    ``values`` counts what was compared.
    """

    documents: int = 0
    max_cosine_distance: float | None = None
    max_length_difference: float | None = None
    max_probability_difference: float | None = None
    label_flips: int | None = None
    allowed_cosine_distance: float = 0.0
    allowed_length_difference: float = 0.0
    allowed_probability_difference: float = 0.0
    clear_margin: float = 0.0
    seconds: float = 0.0
    not_made: str = ""
    max_score_difference: float | None = None
    values: int = 0


def proof_to_json(proof: Proof) -> dict[str, Any]:
    """As JSON-ready values: the reason alone, where none was made."""
    return {"not_made": proof.not_made} if proof.not_made else asdict(proof)


def proof_from_json(value: Mapping[str, Any] | None) -> Proof | None:
    """The way back; None for a manifest from before there were proofs. Raises TypeError for anything else."""
    if value is None:
        return None
    proof = Proof(**value)
    for field in fields(Proof):
        if type(getattr(proof, field.name)).__name__ not in str(field.type).replace("None", "NoneType").split(" | "):
            raise TypeError(f"{field.name} of the proof is no {field.type}")
    return proof


def proof_to_keep(there: Proof | None, made: Proof | None) -> Proof | None:
    """Of two seals of the same parts: the first proof that was made, else what was said first."""
    if there is None or (there.not_made and made is not None and not made.not_made):
        return made
    return there
