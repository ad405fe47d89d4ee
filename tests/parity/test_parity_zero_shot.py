"""Zero-shot labels over a corpus are those of transformers' pipeline on the same weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from parity.asked import MODEL_TYPES, TOLERANCE, array, extracted
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    pipeline,
)

from pipelines.roberta.checkpoint import find
from pipelines.spec import (
    Long,
    LongTexts,
    ZeroShotOptions,
    zero_shot_feature,
)

NLI = ("contradiction", "neutral", "entailment")
TOPICS = ("the river", "a mill that turns", "noise, and gates")


@pytest.fixture(scope="session")
def judges(
    make_model: Callable[..., Path],
    texts: list[str],
    checkpoints: dict[str, tuple[Path, Path]],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    """A random NLI classifier for each model type."""
    root = tmp_path_factory.mktemp("nli")
    return {
        model_type: make_model(texts, root / model_type, labels=NLI, encoder_from=encoder, head_scale=2.0)
        for model_type, (encoder, _) in checkpoints.items()
    }


@pytest.mark.parametrize("model_type", MODEL_TYPES)
@pytest.mark.parametrize("each", [False, True])
def test_zero_shot_labels_are_those_of_the_pipeline(
    model_type: str, each: bool, judges: dict[str, Path], odd_texts: Callable[[str], list[str]]
) -> None:
    subjects = odd_texts(model_type)
    options = ZeroShotOptions(TOPICS, "It is about {}, no doubt.", each)
    feature = zero_shot_feature(find(str(judges[model_type])), options)
    table = extracted(feature, subjects, max_tokens=150).table

    oracle = pipeline(
        "zero-shot-classification",
        model=AutoModelForSequenceClassification.from_pretrained(judges[model_type]).eval(),
        tokenizer=AutoTokenizer.from_pretrained(judges[model_type], split_special_tokens=True, model_max_length=150),
    )
    found = []
    for number, text in enumerate(subjects):
        said = oracle(text, list(TOPICS), hypothesis_template="It is about {}, no doubt.", multi_label=each)
        scores = dict(zip(said["labels"], said["scores"], strict=True))
        wanted = np.array([scores[topic] for topic in TOPICS], np.float32)
        row = table.slice(number, 1)
        assert np.abs(array(row, "zero_shot_scores")[0] - wanted).max() <= TOLERANCE, text
        assert row["zero_shot_score"][0].as_py() == array(row, "zero_shot_scores")[0].max()
        found.append(row["zero_shot_label"][0].as_py())
        ranked = np.sort(wanted)
        if ranked[-1] - ranked[-2] > TOLERANCE:
            assert found[-1] == said["labels"][0]
    assert len(set(found)) > 1, "a head that says one thing of all texts tests nothing"


def test_a_long_text_is_cut_and_its_hypothesis_is_not(judges: dict[str, Path], texts: list[str]) -> None:
    folder = judges["roberta"]
    text, labels = (
        " ".join(texts[:20]),
        ("water", "a very long label that takes many more tokens than the other one does"),
    )
    table = extracted(zero_shot_feature(find(str(folder)), ZeroShotOptions(labels)), [text], max_tokens=90).table

    tokenizer = AutoTokenizer.from_pretrained(folder, split_special_tokens=True)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    logits = []
    for label in labels:
        ids = tokenizer(text, f"This example is {label}.", truncation="only_first", max_length=90)["input_ids"]
        with torch.inference_mode():
            logits.append(model(input_ids=torch.tensor([ids])).logits[0, 2])
    wanted = torch.softmax(torch.stack(logits), -1).numpy()
    assert np.abs(array(table, "zero_shot_scores")[0] - wanted).max() <= TOLERANCE


def test_one_label_is_weighed_against_contradiction(judges: dict[str, Path], texts: list[str]) -> None:
    model = find(str(judges["roberta"]))
    together = extracted(zero_shot_feature(model, ZeroShotOptions(("the river",))), texts[:5]).table
    alone = extracted(zero_shot_feature(model, ZeroShotOptions(("the river", "x"), each=True)), texts[:5]).table
    assert np.abs(array(together, "zero_shot_scores")[:, 0] - array(alone, "zero_shot_scores")[:, 0]).max() <= TOLERANCE
    assert 0 < together["zero_shot_score"][0].as_py() < 1


def test_of_windows_the_scores_are_the_mean_by_tokens(judges: dict[str, Path], texts: list[str]) -> None:
    folder = judges["roberta"]
    options = ZeroShotOptions(TOPICS, each=True)
    subjects = [texts[0], " ".join(texts[:9]), texts[1], " ".join(texts[9:30])]
    feature = zero_shot_feature(find(str(folder)), options)
    table = extracted(feature, subjects, max_tokens=50, long=LongTexts(Long.WINDOW, 5)).table

    tokenizer = AutoTokenizer.from_pretrained(folder, split_special_tokens=True)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    seconds = [tokenizer(options.hypothesis.format(topic), add_special_tokens=False)["input_ids"] for topic in TOPICS]
    room = 50 - 4 - max(map(len, seconds))
    for number, text in enumerate(subjects):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        begins = [0]
        while begins[-1] + room < len(ids):
            begins.append(begins[-1] + room - 5)
        scores, weights = [], []
        for begin in begins:
            part = ids[begin : begin + room]
            rows = [[0, *part, 2, 2, *second, 2] for second in seconds]
            with torch.inference_mode():
                logits = torch.stack([model(input_ids=torch.tensor([row])).logits[0] for row in rows])
            scores.append(torch.softmax(logits[:, [0, 2]], -1)[:, 1].numpy())
            weights.append(len(rows[0]))
        wanted = np.average(scores, axis=0, weights=weights)
        assert np.abs(array(table.slice(number, 1), "zero_shot_scores")[0] - wanted).max() <= TOLERANCE
    assert table["n_windows"].to_pylist()[0] == 1 < table["n_windows"].to_pylist()[3]
