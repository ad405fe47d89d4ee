"""Embeddings and labels are those of transformers, whatever shares a micro-batch with a document."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from pipelines.assembly import Extracted
from pipelines.spec import Dtype

TOLERANCE = 1e-4
MODEL_TYPES = ("roberta", "xlm-roberta", "camembert")


def vectors(table: pa.Table, column: str) -> npt.NDArray[np.float32]:
    return np.array(table[column].to_pylist(), np.float32)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_every_feature_is_that_of_transformers(
    model_type: str,
    attention: str,
    checkpoints: dict[str, tuple[Path, Path]],
    odd_texts: Callable[[str], list[str]],
    extract: Callable[..., Extracted],
    oracle: Callable[..., Any],
) -> None:
    encoder, classifier = checkpoints[model_type]
    subjects = odd_texts(model_type)
    result = extract(subjects, encoder, classifier)

    assert result.rejects == []
    assert result.table["id"].to_pylist() == [str(number) for number in range(len(subjects))]
    truth, judge = oracle(encoder, attention), oracle(classifier, attention)
    for number, text in enumerate(subjects):
        row = result.table.slice(number, 1)
        hidden = truth.hidden(text)
        assert row["n_used"][0].as_py() == len(hidden)
        assert np.abs(vectors(row, "embedding_mean")[0] - hidden.mean(axis=0)).max() <= TOLERANCE
        assert np.abs(vectors(row, "embedding_cls")[0] - hidden[0]).max() <= TOLERANCE
        assert np.abs(vectors(row, "embedding_max")[0] - hidden.max(axis=0)).max() <= TOLERANCE
        if number % 8 == 0:
            scores = judge.scores(text)
            assert np.abs(vectors(row, "scores")[0] - scores).max() <= TOLERANCE
            assert row["score"][0].as_py() == vectors(row, "scores")[0].max()
            assert row["label"][0].as_py() == ("calm", "busy", "loud")[int(scores.argmax())]
    assert len(set(result.table["label"].to_pylist())) > 1, "a head that says one thing of all texts tests nothing"


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_pairs_are_those_of_transformers(
    model_type: str,
    checkpoints: dict[str, tuple[Path, Path]],
    odd_texts: Callable[[str], list[str]],
    extract: Callable[..., Extracted],
    oracle: Callable[..., Any],
) -> None:
    encoder, classifier = checkpoints[model_type]
    subjects = odd_texts(model_type)
    pairs: list[str | None] = [None if number % 5 == 4 else text for number, text in enumerate(reversed(subjects))]
    table = extract(subjects, encoder, classifier, pairs=pairs, max_tokens=60).table

    truth, judge = oracle(encoder, max_tokens=60), oracle(classifier, max_tokens=60)
    for number, (text, pair) in enumerate(zip(subjects, pairs, strict=True)):
        mean = vectors(table.slice(number, 1), "embedding_mean")[0]
        assert np.abs(mean - truth.hidden(text, pair).mean(axis=0)).max() <= TOLERANCE
        if number % 12 == 0:
            scores = vectors(table.slice(number, 1), "scores")[0]
            assert np.abs(scores - judge.scores(text, pair)).max() <= TOLERANCE


@pytest.mark.parametrize(
    ("dtype", "cosine", "margin"),
    [(Dtype.BFLOAT16, 0.999, 0.01), (Dtype.INT8, 0.995, 0.1)],
    ids=lambda value: str(value) if isinstance(value, Dtype) else "",
)
def test_fewer_bits_stay_close(
    dtype: Dtype,
    cosine: float,
    margin: float,
    checkpoints: dict[str, tuple[Path, Path]],
    texts: list[str],
    extract: Callable[..., Extracted],
) -> None:
    encoder, classifier = checkpoints["roberta"]
    exact = extract(texts[:60], encoder, classifier).table
    half = extract(texts[:60], encoder, classifier, dtype=dtype).table

    for column in ("embedding_mean", "embedding_cls", "embedding_max"):
        a, b = vectors(exact, column), vectors(half, column)
        cosines = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        assert cosines.min() >= cosine
        assert not np.array_equal(a, b)
    ranked = np.sort(vectors(exact, "scores"), axis=1)
    clear = ranked[:, -1] - ranked[:, -2] > margin
    same = np.array(exact["label"].to_pylist()) == np.array(half["label"].to_pylist())
    assert clear.any()
    assert same[clear].all()


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_act": "relu", "layer_norm_eps": 1e-3},
        {"hidden_act": "gelu_new", "pad_token_id": 3},
        {"hidden_act": "quick_gelu"},
        {"hidden_act": "silu", "num_attention_heads": 8},
        {"hidden_act": "gelu_fast", "chunk_size_feed_forward": 3},
    ],
    ids=str,
)
def test_unusual_configs_give_what_transformers_gives(
    changes: dict[str, Any],
    checkpoints: dict[str, tuple[Path, Path]],
    tmp_path: Path,
    texts: list[str],
    extract: Callable[..., Extracted],
    oracle: Callable[..., Any],
) -> None:
    folder = shutil.copytree(checkpoints["roberta"][0], tmp_path / "changed")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    table = extract(texts[:4], folder).table

    changes.pop("chunk_size_feed_forward", None)  # only how transformers cuts its work, and then not every length fits
    (folder / "config.json").write_text(json.dumps(config | changes))
    truth = oracle(folder)
    for number, text in enumerate(texts[:4]):
        expected = truth.hidden(text).mean(axis=0)
        assert np.abs(vectors(table.slice(number, 1), "embedding_mean")[0] - expected).max() <= TOLERANCE


def test_a_document_is_the_same_in_any_company(
    checkpoints: dict[str, tuple[Path, Path]], odd_texts: Callable[[str], list[str]], extract: Callable[..., Extracted]
) -> None:
    encoder, classifier = checkpoints["roberta"]
    subjects = odd_texts("roberta")
    together = extract(subjects, encoder, classifier, token_budget=100_000).table
    alone = extract(subjects, encoder, classifier, token_budget=1).table
    backwards = extract(subjects[::-1], encoder, classifier, token_budget=300).table

    for column in ("embedding_mean", "embedding_cls", "embedding_max", "scores"):
        assert np.abs(vectors(together, column) - vectors(alone, column)).max() <= 1e-5
        assert np.abs(vectors(together, column) - vectors(backwards, column)[::-1]).max() <= 1e-5
