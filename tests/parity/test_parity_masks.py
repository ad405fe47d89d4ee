"""Filled masks and pronouns over a corpus are those of transformers on the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from parity.asked import MODEL_TYPES, TOLERANCE, extracted
from parity.lm_models import add_lm_head
from transformers import (
    AutoModelForMaskedLM,
    AutoTokenizer,
)

from pipelines.documents import Reason
from pipelines.hub import Roberta
from pipelines.roberta.checkpoint import find
from pipelines.spec import (
    FillMaskOptions,
    Long,
    LongTexts,
    PronounOptions,
    fill_mask_feature,
    pronoun_feature,
)


@pytest.fixture(scope="session")
def fillers(checkpoints: dict[str, tuple[Path, Path]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A masked language model for each model type."""
    root = tmp_path_factory.mktemp("fillers")
    return {
        model_type: add_lm_head(encoder, root / model_type, tied=model_type != "camembert")
        for model_type, (encoder, _) in checkpoints.items()
    }


MASKED = (
    *("The keeper opens <mask> gates.", "<mask>", "<mask> turns the wheel", "the river <mask>", "a  <mask> , odd"),
    *("ünïcödé “quotes” <mask> …", "日本語<mask>テキスト", "emoji 👩🏽‍🚀 <mask>", "trailing <mask> blanks   "),
)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_fills_are_those_of_transformers(model_type: str, fillers: dict[str, Path]) -> None:
    folder = fillers[model_type]
    feature = fill_mask_feature(find(str(folder)), FillMaskOptions(7))
    result = extracted(feature, MASKED)
    assert result.rejects == []

    tokenizer = AutoTokenizer.from_pretrained(folder, split_special_tokens=True)
    model = AutoModelForMaskedLM.from_pretrained(folder).eval()
    by_hand = Roberta.load(str(folder))
    best = set()
    for text, fills in zip(MASKED, result.table["fills"].to_pylist(), strict=True):
        before, after = (side.rstrip() for side in text.split("<mask>"))
        sides = [tokenizer(side, add_special_tokens=False)["input_ids"] for side in (before, after)]
        begin, mask, end = tokenizer.bos_token_id, tokenizer.mask_token_id, tokenizer.eos_token_id
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([[begin, *sides[0], mask, *sides[1], end]])).logits
        probabilities = torch.softmax(logits[0, 1 + len(sides[0])], -1)
        wanted = probabilities.topk(7).values.numpy()
        assert np.abs(np.array([fill["score"] for fill in fills], np.float32) - wanted).max() <= TOLERANCE
        assert [(one["text"], one["token"]) for one in fills] == [
            (filled, token) for filled, _, token in by_hand.fill_mask(text, topk=7)
        ]
        best.add(fills[0]["token"])
    assert len(best) > 1


def test_what_has_no_mask_or_two_is_set_aside(fillers: dict[str, Path], texts: list[str]) -> None:
    feature = fill_mask_feature(find(str(fillers["roberta"])), FillMaskOptions(2))
    result = extracted(feature, [texts[0], "one <mask>", "<mask> <mask>"])
    assert result.table["id"].to_pylist() == ["1"]
    assert [(reject.id, reject.reason, reject.detail) for reject in result.rejects] == [
        ("0", Reason.UNFIT, "The text has <mask> 0 times, wanted once."),
        ("2", Reason.UNFIT, "The text has <mask> 2 times, wanted once."),
    ]


def test_of_a_long_text_the_tokens_around_the_mask_are_read(fillers: dict[str, Path], texts: list[str]) -> None:
    folder = fillers["roberta"]
    model = find(str(folder))
    feature = fill_mask_feature(model, FillMaskOptions(3))
    long = " ".join(texts[:10])
    subjects = [f"{long} <mask> {long}", f"<mask> {long}", f"{long} <mask>"]
    table = extracted(feature, subjects, max_tokens=30).table

    tokenizer = AutoTokenizer.from_pretrained(folder, split_special_tokens=True)
    masked = AutoModelForMaskedLM.from_pretrained(folder).eval()
    after = tokenizer(f" {long}", add_special_tokens=False)["input_ids"]
    before = tokenizer(long, add_special_tokens=False)["input_ids"]
    rows = [[*before[-13:], 4, *after[:14]], [4, *after[:27]], [*before[-27:], 4]]
    for row, fills in zip(rows, table["fills"].to_pylist(), strict=True):
        ids = [0, *(tokenizer.mask_token_id if number == 4 else number for number in row), 2]
        with torch.inference_mode():
            logits = masked(input_ids=torch.tensor([ids])).logits[0]
        wanted = torch.softmax(logits[ids.index(tokenizer.mask_token_id)], -1).topk(3).values.numpy()
        assert np.abs(np.array([fill["score"] for fill in fills], np.float32) - wanted).max() <= TOLERANCE
    refused = extracted(feature, ["a <mask>", *subjects], max_tokens=30, long=LongTexts(Long.ERROR))
    assert [reject.reason for reject in refused.rejects] == [Reason.TOO_LONG] * 3


PRONOUNS = (
    ("The _trophy_ is not in the suitcase because [it] is too big.", ["the suitcase", "a heavy wheel"]),
    ("The river fills the mill, and [it] turns.", ["the river", "the mill", "seven gates"]),
    ("[She] praises “the keeper”.", ["the keeper", "日本語", "a"]),
    ("The keeper forgot _the gates_, so [they] stay.", ["the gates", "The keeper"]),
)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_pronouns_are_those_of_transformers(model_type: str, fillers: dict[str, Path]) -> None:
    folder = fillers[model_type]
    feature = pronoun_feature(find(str(folder)), PronounOptions())
    pairs = [{"candidates": candidates} for _, candidates in PRONOUNS]
    result = extracted(feature, [text for text, _ in PRONOUNS], pairs=pairs)
    assert result.rejects == []

    model = AutoModelForMaskedLM.from_pretrained(folder).eval()
    by_hand = Roberta.load(str(folder))
    tokenizer = AutoTokenizer.from_pretrained(folder, split_special_tokens=True)
    for row, (text, candidates) in zip(result.table.to_pylist(), PRONOUNS, strict=True):
        weighed = by_hand.weigh_pronoun(text, candidates)
        asked = [*([weighed.query] if weighed.query else []), *weighed.candidates]
        assert [one["text"] for one in row["pronoun_candidates"]] == [name for name, _ in asked]
        scores = np.array([one["score"] for one in row["pronoun_candidates"]])
        assert np.abs(scores - np.array([score for _, score in asked])).max() <= TOLERANCE
        if weighed.query:
            assert row["pronoun_answer"] is None
            assert row["pronoun_correct"] is weighed.answer
        else:
            assert row["pronoun_answer"] == weighed.answer
            assert row["pronoun_correct"] is None
    # And one by hand from the ids, without the interface: no <s>, all of the candidate masked at once.
    before, candidate, after = "The river fills the mill, and", " seven gates", " turns."
    parts = [tokenizer(part, add_special_tokens=False)["input_ids"] for part in (before, candidate, after)]
    whole = tokenizer(before + candidate + after, add_special_tokens=False)["input_ids"]
    if [number for part in parts for number in part] == whole:  # a Unigram may join what is put together otherwise
        ids = [*parts[0], *[tokenizer.mask_token_id] * len(parts[1]), *parts[2], tokenizer.eos_token_id]
        with torch.inference_mode():
            logged = torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0], -1)
        begin = len(parts[0])
        wanted = torch.stack([logged[begin + place, number] for place, number in enumerate(parts[1])]).mean()
        assert result.table["pronoun_candidates"][1].as_py()[2]["score"] == pytest.approx(float(wanted), abs=TOLERANCE)


@pytest.mark.parametrize(
    ("text", "candidates", "detail"),
    [
        ("No pronoun here.", ["a"], "The sentence has 0 [pronouns] in brackets, wanted one."),
        ("[It] and [it].", ["a"], "The sentence has 2 [pronouns] in brackets, wanted one."),
        ("_a_ and _b_ [it].", ["a"], "The sentence has 2 _queries_ between underscores, wanted one."),
        ("[It] turns.", [" "], "There is no candidate for the pronoun."),
        ("The _mill_: [it] turns.", ["the mill"], "There is no candidate for the pronoun beside 'mill'."),
        ("[It] turns.", None, "The candidates are null or missing, wanted a list of texts."),
    ],
)
def test_a_sentence_that_cannot_be_asked_is_set_aside_alone(
    text: str, candidates: list[str] | None, detail: str, fillers: dict[str, Path]
) -> None:
    feature = pronoun_feature(find(str(fillers["roberta"])), PronounOptions())
    pairs: list[dict[str, Any]] = [{"candidates": ["the mill", "it"]}, {"candidates": candidates}]
    result = extracted(feature, ["The river: [it] turns.", text], pairs=pairs)
    assert result.table.num_rows == 1
    assert [(reject.reason, reject.detail) for reject in result.rejects] == [(Reason.UNFIT, detail)]


def test_of_a_long_sentence_what_is_around_the_pronoun_is_read(fillers: dict[str, Path], texts: list[str]) -> None:
    feature = pronoun_feature(find(str(fillers["roberta"])), PronounOptions())
    long = " ".join(texts[:12])
    pairs = [{"candidates": ["the mill", "a heavy wheel " * 20]}] * 2
    subjects = [f"{long} [it] turns. {long}", "[it] turns"]
    result = extracted(feature, subjects, pairs=pairs, max_tokens=40)
    assert result.rejects == []
    assert np.isfinite([one["score"] for one in result.table["pronoun_candidates"][0].as_py()]).all()
    strict = extracted(feature, subjects, pairs=pairs, max_tokens=40, long=LongTexts(Long.ERROR))
    assert {reject.reason for reject in strict.rejects} == {Reason.TOO_LONG}
