"""The table of word embeddings: as it is, or in bytes."""

from __future__ import annotations

import pytest
import torch

from pipelines.roberta import tables
from pipelines.roberta.tables import PlainTable, QuantizedTable

IDS = torch.tensor([0, 7, 7, 9, 3])


@pytest.fixture
def rows() -> torch.Tensor:
    """Ten rows, each ten times as large as the last one; one is all zeros."""
    rows = torch.randn(10, 32, generator=torch.Generator().manual_seed(1)) * 10.0 ** torch.arange(-5, 5)[:, None]
    rows[9] = 0
    return rows


@pytest.mark.parametrize("stretch", [3, 4096])
def test_a_row_in_bytes_is_within_half_a_step_of_its_own_scale(
    rows: torch.Tensor, stretch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "STRETCH", stretch)
    table = QuantizedTable(rows)
    wanted, got = PlainTable(rows)(IDS), table(IDS)
    assert got.dtype is torch.float32
    step = wanted.abs().amax(dim=1, keepdim=True) / 127
    assert ((got - wanted).abs() <= step * 0.5001).all()
    assert (got[3] == 0).all()
    assert table.nbytes == 10 * (32 + 4)


def test_what_lies_in_a_file_in_half_precision_is_made_bytes_as_floats_are(rows: torch.Tensor) -> None:
    stored = rows.bfloat16()
    assert torch.equal(QuantizedTable(stored)(IDS), QuantizedTable(stored.float())(IDS))


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_row_that_is_not_finite_harms_no_other(rows: torch.Tensor, number: float) -> None:
    rows[7, 3] = number
    got = QuantizedTable(rows)(IDS)
    assert got.isfinite().any(dim=1).tolist() == got.isfinite().all(dim=1).tolist() == [True, False, False, True, True]
