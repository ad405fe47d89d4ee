"""Tests of CUDA devices; skipped where there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from benchmarks.feature_costs import CONTESTANTS, LABELS, NLI, Contestant, write_corpora, write_dense
from parity.choice_models import add_choice_head
from parity.head_models import add_question_answering, add_token_classifier
from parity.lm_models import add_lm_head

DEVICE = "cuda"
NOT_HERE = ("--vectors int8", "--vectors binary", "--embed mean@-4..-1")
"""Stored too coarsely to be compared, or of more layers than a small model has."""
FEATURES = [one for one in CONTESTANTS if not one.flags.startswith(NOT_HERE)]
"""Every feature, as the benchmark of their costs asks for it."""


@pytest.fixture(scope="session", autouse=True)
def _device() -> None:
    if not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("no CUDA device with bfloat16")


@pytest.fixture(params=FEATURES, ids=lambda one: one.name)
def feature(request: pytest.FixtureRequest) -> Contestant:
    """Each feature in turn."""
    assert isinstance(request.param, Contestant)
    return request.param


@pytest.fixture(scope="session")
def heads(
    make_model: Callable[..., Path], tiny_model: Path, texts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with a small model for each head, all on one encoder, by the names that the features use."""
    folder = tmp_path_factory.mktemp("heads")
    for name, labels in (("labels", LABELS), ("nli", NLI), ("number", ("number",))):
        make_model(texts, folder / name, vocab_size=600, max_positions=130, labels=labels, encoder_from=tiny_model)
    add_lm_head(tiny_model, folder / "masks")
    add_token_classifier(tiny_model, folder / "spans", ("O", "B-LOC", "I-LOC"))
    add_question_answering(tiny_model, folder / "answers")
    add_choice_head(tiny_model, folder / "choice")
    write_dense(folder / "dense", folder / "labels")
    return folder


@pytest.fixture(scope="session")
def corpora(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """48 documents, as each feature wants them."""
    return write_corpora(tmp_path_factory.mktemp("corpora"), texts[:48])
