"""Classifiers of every kind give what transformers gives: one label, several, or a number; windows are merged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from parity.conftest import LABELS, documents
from transformers import AutoModelForSequenceClassification, RobertaForSequenceClassification

from pipelines.assembly import Extracted
from pipelines.documents import Batch
from pipelines.errors import InputError, UsageError
from pipelines.extract import Extractor
from pipelines.opening.classifiers import classifier_features
from pipelines.roberta.checkpoint import find
from pipelines.roberta.problem import Problem, problem_of
from pipelines.spec import TRUNCATED, CorpusSpec, Dtype, Long, LongTexts, RunSpec

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def classifier(checkpoints: dict[str, tuple[Path, Path]]) -> Path:
    return checkpoints["roberta"][1]


@pytest.fixture(scope="module")
def regressor(classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same encoder with a head of one output."""
    folder = tmp_path_factory.mktemp("regression") / "model"
    shutil.copytree(classifier, folder)
    torch.manual_seed(3)
    options = {"num_labels": 1, "ignore_mismatched_sizes": True}
    model: Any = RobertaForSequenceClassification.from_pretrained(classifier, **options)
    torch.nn.init.normal_(model.classifier.out_proj.weight, std=0.3)
    model.save_pretrained(folder)
    return folder


def retold(folder: Path, out: Path, **said: Any) -> Path:
    """The same weights with another config."""
    shutil.copytree(folder, out)
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps({**config, **said}))
    return out


def extract(
    folder: Path, texts: list[str], *, top_k: int = 0, thresholds: tuple[str, ...] = (), long: LongTexts = TRUNCATED
) -> Extracted:
    model = find(str(folder))
    features = classifier_features(("self",), model, top_k=top_k, thresholds=thresholds)
    spec = RunSpec(CorpusSpec(()), model, features, 60, Dtype.FLOAT32, 512, long=long)
    return Extractor(spec, token_budget=700).extract(Batch(0, 0, list(documents(texts))))


def logits(folder: Path, rows: list[list[int]]) -> torch.Tensor:
    model = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.inference_mode():
        return torch.cat([model(input_ids=torch.tensor([row])).logits for row in rows])


def test_the_best_few_labels(
    classifier: Path, odd_texts: Callable[[str], list[str]], oracle: Callable[..., Any]
) -> None:
    subjects = odd_texts("roberta")
    table = extract(classifier, subjects, top_k=2).table
    wanted = logits(classifier, [oracle(classifier, max_tokens=60).ids(text) for text in subjects]).softmax(-1)
    scores, best = wanted.topk(2)
    assert table["top_labels"].to_pylist() == [[LABELS[number] for number in row] for row in best.tolist()]
    assert np.abs(np.array(table["top_scores"].to_pylist()) - scores.numpy()).max() <= TOLERANCE
    assert table["label"].to_pylist() == [labels[0] for labels in table["top_labels"].to_pylist()]


def test_every_label_above_its_threshold(
    classifier: Path, odd_texts: Callable[[str], list[str]], oracle: Callable[..., Any], tmp_path: Path
) -> None:
    folder = retold(classifier, tmp_path / "multi", problem_type="multi_label_classification")
    assert problem_of(find(str(folder))) is Problem.MULTI_LABEL
    subjects = odd_texts("roberta")
    wanted = logits(folder, [oracle(folder, max_tokens=60).ids(text) for text in subjects]).sigmoid().numpy()
    limits = np.median(wanted, axis=0).round(2)
    asked = ("0.5", *(f"{label}={limit:.2f}" for label, limit in zip(LABELS, limits.tolist(), strict=True)))
    table = extract(folder, subjects, thresholds=asked).table
    assert np.abs(np.array(table["scores"].to_pylist()) - wanted).max() <= TOLERANCE
    clear = np.abs(wanted - limits).min(axis=1) > TOLERANCE
    for row, labels, sure in zip(wanted, table["labels"].to_pylist(), clear, strict=True):
        assert not sure or labels == [name for name, p, limit in zip(LABELS, row, limits, strict=True) if p >= limit]
    assert len({tuple(labels) for labels in table["labels"].to_pylist()}) > 2


def test_a_number(regressor: Path, odd_texts: Callable[[str], list[str]], oracle: Callable[..., Any]) -> None:
    subjects = odd_texts("roberta")
    assert problem_of(find(str(regressor))) is Problem.REGRESSION
    values = extract(regressor, subjects).table["value"].to_numpy()
    wanted = logits(regressor, [oracle(regressor, max_tokens=60).ids(text) for text in subjects])[:, 0].numpy()
    assert np.abs(values - wanted).max() <= TOLERANCE
    assert wanted.std() > 0.01


def test_probabilities_of_windows_are_merged_by_their_tokens(
    classifier: Path, odd_texts: Callable[[str], list[str]], oracle: Callable[..., Any]
) -> None:
    subjects, truth = odd_texts("roberta"), oracle(classifier)
    table = extract(classifier, subjects, long=LongTexts(Long.WINDOW, 10)).table
    for number, text in enumerate(subjects[:20]):
        found = truth.tokenizer(text, truncation=True, max_length=60, stride=10, return_overflowing_tokens=True)
        rows = found["input_ids"]
        probabilities = logits(classifier, rows).softmax(-1).numpy()
        wanted = np.average(probabilities, axis=0, weights=[len(row) for row in rows])
        assert np.abs(np.array(table["scores"][number].as_py()) - wanted).max() <= TOLERANCE
        assert table["label"][number].as_py() == LABELS[int(wanted.argmax())]
        assert table["n_windows"][number].as_py() == len(rows)


def test_what_a_head_cannot_do_is_refused(classifier: Path, regressor: Path, tmp_path: Path) -> None:
    model = find(str(classifier))
    cases: list[tuple[dict[str, Any], str]] = [
        ({"thresholds": ("0.3",)}, "no multi-label classifier"),
        ({"top_k": 9}, r"--top-k 9 is more than the 3 classes of .*\. Use at most 3\."),
    ]
    for more, message in cases:
        with pytest.raises(UsageError, match=message):
            classifier_features(("self",), model, **{"top_k": 0, "thresholds": (), **more})
    with pytest.raises(UsageError, match="no single-label classifier"):
        classifier_features(("self",), find(str(regressor)), top_k=2, thresholds=())
    multi = find(str(retold(classifier, tmp_path / "m", problem_type="multi_label_classification")))
    for text, message in (("sad=0.5", "no label 'sad'"), ("1.5", "no threshold"), ("calm=x", "no threshold")):
        with pytest.raises(UsageError, match=message):
            classifier_features(("self",), multi, top_k=0, thresholds=(text,))
    with pytest.raises(InputError, match="regression with 3 outputs"):
        problem_of(find(str(retold(classifier, tmp_path / "r", problem_type="regression"))))
    with pytest.raises(InputError, match="problem_type 'other'"):
        problem_of(find(str(retold(classifier, tmp_path / "o", problem_type="other"))))
