"""Rows that fill a micro-batch up: few sizes, and nothing that a feature reads depends on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.roberta.checkpoint import find
from pipelines.roberta.encoder import Encoder
from pipelines.roberta.packing import computed_rows, pack, position_ids
from pipelines.roberta.states import Needs
from pipelines.spec import Dtype

CPU = torch.device("cpu")


def test_sizes_are_few_and_little_larger() -> None:
    for rows in range(1, 9000):
        filled = computed_rows(rows, CPU)
        assert rows <= filled < rows + max(16, rows / 16)
        assert computed_rows(filled, CPU) == filled
        assert computed_rows(rows, torch.device("cuda")) == rows
    for power in range(4, 13):
        assert len({computed_rows(rows, CPU) for rows in range(1 << power, 2 << power)}) <= 33


def test_what_fills_up_is_the_last_token_again() -> None:
    rows = [np.arange(5, 5 + length, dtype=np.int32) for length in (7, 7, 3)]
    ids, packing = pack(rows, CPU)
    assert (packing.tokens, packing.rows, len(ids)) == (17, 32, 32)
    assert ids[:17].tolist() == np.concatenate(rows).tolist()
    assert ids[17:].tolist() == [7] * 15
    positions = position_ids(packing, 1)
    assert positions[:17].tolist() == [*range(2, 9), *range(2, 9), *range(2, 5)]
    assert positions[17:].tolist() == [4] * 15


@pytest.mark.parametrize("documents", [1, 15, 16, 17])
@pytest.mark.parametrize("dtype", [Dtype.FLOAT32, Dtype.INT8])
def test_states_have_the_rows_of_the_documents_alone(
    tiny_model: Path, documents: int, dtype: Dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Encoder.load(find(str(tiny_model)), CPU, dtype)
    random = np.random.default_rng(documents)
    rows = [random.integers(5, 250, 3 + number % 4, dtype=np.int32) for number in range(documents)]
    tokens = sum(map(len, rows))
    whole = encoder.forward(rows, Needs(tokens=frozenset({0, -1})))
    firsts = encoder.forward(rows, Needs(firsts=frozenset({-1})))
    assert whole.tokens(0).shape == whole.tokens().shape == (tokens, encoder.config.hidden_size)
    assert firsts.first().shape == (documents, encoder.config.hidden_size)
    monkeypatch.setattr("pipelines.roberta.packing.computed_rows", lambda rows, _: rows)
    monkeypatch.setattr("pipelines.roberta.encoder.computed_rows", lambda rows, _: rows)
    bare = encoder.forward(rows, Needs(tokens=frozenset({-1})))
    torch.testing.assert_close(whole.tokens(), bare.tokens(), atol=1e-5, rtol=1e-5)
    if dtype is Dtype.FLOAT32:  # a byte's scale is that of the rows that are computed: of the last layer not the same
        torch.testing.assert_close(firsts.first(), bare.first(), atol=1e-5, rtol=1e-5)
