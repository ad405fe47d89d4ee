"""With ``batch_invariant`` a document's bytes depend neither on its company, nor on the budget, nor on the threads."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from parity.conftest import documents

from pipelines.assembly import Extracted
from pipelines.documents import Batch
from pipelines.extract import Extractor
from pipelines.roberta.checkpoint import find
from pipelines.roberta.invariant import Invariant, invariant_form
from pipelines.roberta.linear import PlainLinear, linear_form
from pipelines.spec import CorpusSpec, Dtype, Pooling, RunSpec, embedding_feature, labels_feature

BUDGETS = (150, 1000, 100_000)
SHUFFLES = 5
CPU = torch.device("cpu")


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """``threads(n)`` for the rest of the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def values(extracted: Extracted) -> Iterator[tuple[str, tuple[bytes, ...]]]:
    """Each document's id, and its values as bytes."""
    table = extracted.table
    columns = [
        np.array(table[name].to_pylist(), np.float32)
        for name in ("embedding_mean", "embedding_cls", "embedding_max", "score", "scores")
    ]
    for place, name in enumerate(table["id"].to_pylist()):
        yield name, tuple(column[place].tobytes() for column in columns)


@pytest.mark.parametrize("dtype", [Dtype.FLOAT32, Dtype.BFLOAT16])
def test_same_bytes_in_any_company(
    dtype: Dtype,
    checkpoints: dict[str, tuple[Path, Path]],
    odd_texts: Callable[[str], list[str]],
    threads: Callable[[int], None],
) -> None:
    model, classifier = (find(str(folder)) for folder in checkpoints["roberta"])
    features = (
        *(embedding_feature(model, pooling, name=str(pooling)) for pooling in Pooling),
        labels_feature(classifier, None),
    )
    spec = RunSpec(CorpusSpec(()), model, features, 128, dtype, 512, batch_invariant=True)
    extractors = {}
    for workers in (1, 2):  # each computes a share of the documents on a share of the threads
        threads(3 - workers)
        extractors[workers] = [Extractor(spec, token_budget=budget) for budget in BUDGETS]
        assert extractors[workers][0]._streams.count == 3 - workers
    subjects = list(documents(odd_texts("roberta")[::3]))
    seen = []
    for shuffle in range(SHUFFLES):
        order = random.Random(shuffle).sample(subjects, len(subjects))
        for workers, engines in extractors.items():
            for extractor in engines:
                shares = [extractor.extract(Batch(0, 0, list(order[worker::workers]))) for worker in range(workers)]
                seen.append(dict(item for share in shares for item in values(share)))
    assert len(seen) == SHUFFLES * len(BUDGETS) * 2
    assert len(seen[0]) == len(subjects)
    assert all(found == seen[0] for found in seen)


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_products_that_differ_with_their_rows_are_computed_in_pieces_of_one_size(
    activation: str, threads: Callable[[int], None]
) -> None:
    torch.manual_seed(0)
    threads(2)
    weight, bias = torch.randn(256, 1024), torch.randn(256)
    plain = PlainLinear(weight, bias, dtype=torch.float32, device=CPU, activation=activation)
    linear = Invariant(plain, 64)
    rows, residual = torch.randn(500, 1024), torch.randn(500, 256)
    whole = (linear(rows), linear.activated(rows), linear.added(rows, residual))
    for start, count in ((0, 1), (17, 5), (3, 64), (63, 200), (499, 1)):
        place = slice(start, start + count)
        part = (linear(rows[place]), linear.activated(rows[place]), linear.added(rows[place], residual[place]))
        assert all(torch.equal(one, all_[place]) for one, all_ in zip(part, whole, strict=True))
    tolerance = 1e-4 * float(plain(rows).abs().max())
    assert torch.allclose(whole[1], plain.activated(rows), atol=tolerance)
    assert torch.allclose(whole[2], plain.added(rows, residual), atol=tolerance)


class Fickle(PlainLinear):
    """Its last bits tell how many rows there were."""

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = super().__call__(rows) + len(rows) * 1e-6
        return product


def test_whether_products_differ_is_tried_out() -> None:
    def fickle(weight: torch.Tensor, bias: torch.Tensor) -> PlainLinear:
        return Fickle(weight, bias, dtype=torch.float32, device=CPU, activation="gelu")

    found = invariant_form(fickle, torch.float32, CPU)(torch.randn(8, 16), torch.randn(8))
    assert isinstance(found, Invariant)
    assert found.piece_rows
    rows = torch.randn(300, 16)
    assert torch.equal(found(rows)[7:9], found(rows[7:9]))


class Threaded(PlainLinear):
    """Its last bits tell how many threads there were."""

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        return rows[:, :8] + torch.get_num_threads() * 1e-3


def test_products_that_differ_with_their_threads_are_computed_by_one(threads: Callable[[int], None]) -> None:
    def threaded(weight: torch.Tensor, bias: torch.Tensor) -> PlainLinear:
        return Threaded(weight, bias, dtype=torch.float32, device=CPU, activation="gelu")

    rows, made = torch.randn(300, 16), {}
    for count in (1, 2):
        threads(count)
        made[count] = invariant_form(threaded, torch.float32, CPU)(torch.randn(8, 16), torch.randn(8))
    assert made[1].piece_rows is None  # type: ignore[attr-defined]  # it is invariant's own
    assert made[2].piece_rows  # type: ignore[attr-defined]  # it is invariant's own
    of_two = made[2](rows)
    assert torch.get_num_threads() == 2
    threads(1)
    assert torch.equal(made[1](rows), of_two)


def test_one_row_is_computed_as_many_are() -> None:
    torch.manual_seed(0)
    form = invariant_form(linear_form(Dtype.FLOAT32, torch.float32, CPU, "gelu"), torch.float32, CPU)
    linear = form(torch.randn(768, 3072) / 50, torch.randn(768))
    rows = torch.randn(40, 3072)
    assert torch.equal(linear(rows)[3:4], linear(rows[3:4]))
