"""How far a row may be from the oracle's, and what is said where it is further."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipelines.parts.proof_record import Proof, proof_from_json, proof_to_json
from pipelines.proof.compare import BOUNDS, Comparison, cosine_distance
from pipelines.spec import Dtype

FLOAT32, INT8 = BOUNDS[Dtype.FLOAT32], BOUNDS[Dtype.INT8]
NAMES = ("calm", "busy", "loud")


def vector(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


@pytest.mark.parametrize(
    ("found", "wanted", "distance"),
    [
        (vector(1, 2), vector(1, 2), 0),
        (vector(0, 0), vector(0, 0), 0),
        (vector(1, 0), vector(0, 1), 1),
        (vector(1, 0), vector(-1, 0), 2),
        (vector(0, 0), vector(1, 0), 2),
        (vector(math.nan, 0), vector(1, 0), 2),
        (vector(1, 0), vector(math.inf, 0), 2),
    ],
)
def test_cosine_distance(found: np.ndarray, wanted: np.ndarray, distance: float) -> None:
    assert cosine_distance(found, wanted) == pytest.approx(distance)


def test_what_is_within_its_bound_is_no_fault() -> None:
    comparison = Comparison(FLOAT32, documents=1)
    comparison.embedding("one", vector(1, 1), vector(1, 1.0001))
    comparison.labels("one", "calm", vector(0.9, 0.05, 0.05), NAMES, vector(0.9, 0.05, 0.05))
    comparison.tokens("one", 7, 7)
    assert comparison.worst() == ""
    proof = comparison.proof(1.23456)
    assert 0 < (proof.max_cosine_distance or 0) <= FLOAT32.cosine_distance
    assert (proof.documents, proof.label_flips, proof.seconds) == (1, 0, 1.235)


def test_a_vector_of_another_length_is_a_fault_though_its_direction_is_right() -> None:
    comparison = Comparison(FLOAT32)
    comparison.embedding("embedding of 'a'", vector(2, 4), vector(1, 2))
    assert comparison.worst() == (
        "embedding of 'a' is in length apart by 1 from plain transformers in float32, 0.0001 is allowed"
    )


def test_the_worst_document_is_named() -> None:
    comparison = Comparison(INT8)
    comparison.embedding("'a'", vector(1, 0.3), vector(1, 0))
    comparison.embedding("'b'", vector(0, 1), vector(1, 0))
    comparison.embedding("'c'", vector(1, 0), vector(1, 0))
    assert comparison.worst().startswith("'b' is at cosine distance 1 ")
    comparison.tokens("'d'", 8, 7)
    assert comparison.worst() == "'d' was made of 8 tokens, plain transformers of 7"


def test_a_label_counts_as_another_only_where_the_oracle_is_clear() -> None:
    close, clear = vector(0.45, 0.4, 0.15), vector(0.9, 0.05, 0.05)
    comparison = Comparison(INT8)
    comparison.labels("near tie", "busy", vector(0.41, 0.44, 0.15), NAMES, close)
    assert (comparison.label_flips, comparison.worst()) == (0, "")
    comparison.labels("clear", "busy", clear, NAMES, clear)  # the probabilities are right, the name is not
    assert comparison.label_flips == 1
    assert "clear is 'busy', plain transformers says 'calm' by a margin of 0.85" in comparison.worst()


def test_probabilities_that_are_no_numbers_are_a_fault() -> None:
    comparison = Comparison(INT8)
    comparison.labels("'a'", "calm", vector(math.nan, 0, 0), NAMES, vector(1, 0, 0))
    assert comparison.max_probability_difference == 1
    assert comparison.worst()


def test_the_record_survives_json_and_refuses_what_it_is_not() -> None:
    for proof in (Comparison(FLOAT32, 3, 0.0, 0.0).proof(1.0), Proof(not_made="no memory")):
        assert proof_from_json(proof_to_json(proof)) == proof
    assert proof_from_json(None) is None
    for value in ({"documents": "3"}, {"seconds": None}, {"label_flips": 0.5}, {"more": 1}, {"not_made": 1}):
        with pytest.raises(TypeError):
            proof_from_json(value)
