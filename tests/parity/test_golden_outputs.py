"""The published outputs of the real models: where PENSTOCK_MODELS=DIR holds folders roberta.base, roberta.large,
roberta.large.mnli and roberta.large.wsc. Where PENSTOCK_TEST_DATA is set as well, so are fairseq's own tensors.

Numbers: golden_numbers.json (huggingface/transformers ``tests/models/roberta/test_modeling_roberta.py``,
keras-team/keras-hub ``roberta_backbone_test.py``, facebookresearch/fairseq ``examples/roberta/README.md``).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pipelines.hub import Roberta, collate_tokens
from pipelines.roberta.checkpoint import find
from pipelines.roberta.lm_head import LMHead

HELLO = [0, 31414, 232, 328, 740, 1140, 12695, 69, 46078, 1588, 2]
Load = Callable[[str], Roberta]


@pytest.fixture(scope="module")
def load() -> Load:
    """A real model by its name; skipped where it is not there."""
    loaded: dict[str, Roberta] = {}

    def by_name(name: str) -> Roberta:
        place = os.environ.get("PENSTOCK_MODELS")
        if not place:
            pytest.skip("PENSTOCK_MODELS is not set: no real weights")
        if not (Path(place) / name).is_dir():
            pytest.skip(f"PENSTOCK_MODELS holds no folder {name}")
        if name not in loaded:
            loaded[name] = Roberta.load(str(Path(place) / name))
        return loaded[name]

    return by_name


def close(found: torch.Tensor, wanted: list[list[float]] | list[float], atol: float = 1e-4) -> None:
    torch.testing.assert_close(found.float(), torch.tensor(wanted), atol=atol, rtol=0)


def test_last_hidden_states_of_base(load: Load) -> None:
    found = load("roberta.base").extract_features(torch.tensor([HELLO]))
    close(found[0, :3, :3], [[-0.0231, 0.0782, 0.0074], [-0.1854, 0.0540, -0.0175], [0.0548, 0.0799, 0.1687]])
    fox = load("roberta.base").extract_features(torch.tensor([[0, 133, 2119, 2]]))
    close(fox[0, 0, :5], [-0.051, 0.100, -0.010, -0.097, 0.059], atol=0.01)


@pytest.mark.parametrize("name", ["roberta.base", "roberta.large"])
def test_features_are_those_of_fairseq(name: str, load: Load, test_data: Path) -> None:
    roberta = load(name)
    wanted = torch.load(test_data / "golden_outputs" / f"{name}.output.pt", weights_only=True)
    found = roberta.extract_features(roberta.encode("Roberta base Model Comparison"))
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_the_language_model_head_of_base(load: Load) -> None:
    features = load("roberta.base").extract_features(torch.tensor([HELLO]))[0]
    head = LMHead.load(find(f"{os.environ['PENSTOCK_MODELS']}/roberta.base"), torch.device("cpu"))
    wanted = [[33.8802, -4.3103, 22.7761], [4.6539, -2.8098, 13.6253], [1.8228, -3.6898, 8.8600]]
    close(head.logits(features[:3])[:, :3], wanted)
    found = [token.strip() for _, _, token in load("roberta.base").fill_mask("The goal of life is <mask>.", topk=5)]
    assert found == ["happiness", "love", "peace", "freedom", "simplicity"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "The first Star wars movie came out in <mask>",
            [(" 1977", 0.9504708), (" 1978", 0.0099869), (" 1979", 0.0095748)],
        ),
        (
            "Vikram samvat calender is official in <mask>",
            [(" India", 0.2187882), (" Delhi", 0.0854724), (" Gujarat", 0.0755622)],
        ),
        (
            "<mask> is the common currency of the European Union",
            [("Euro", 0.9456494), ("euro", 0.0257482), ("€", 0.0111831)],
        ),
    ],
)
def test_masks_are_filled_as_in_the_readme(text: str, wanted: list[tuple[str, float]], load: Load) -> None:
    found = load("roberta.large").fill_mask(text, topk=3)
    assert [token for _, _, token in found] == [token for token, _ in wanted]
    assert [score for _, score, _ in found] == pytest.approx([score for _, score in wanted], abs=1e-3)


def test_words_have_the_vectors_of_the_readme(load: Load) -> None:
    words = load("roberta.large").extract_features_aligned_to_words('I said, "hello RoBERTa."')
    found = {word.text: word.vector[:5] for word in words}
    close(found["<s>"], [-0.1316, -0.0386, -0.0832, -0.0477, 0.1943])
    close(found["I"], [0.0559, 0.1541, -0.4832, 0.0880, 0.0120])
    close(found["said"], [-0.1565, -0.0069, -0.8915, 0.0501, -0.0647])
    close(found["hello"], [0.0079, 0.1799, -0.6204, -0.0777, -0.0923])
    close(found["RoBERTa"], [-0.2339, -0.1184, -0.7343, -0.0492, 0.5829])
    close(found["</s>"], [-0.0930, -0.0392, -0.0821, 0.0158, 0.0649])


def test_pairs_are_classified_as_in_the_readme(load: Load) -> None:
    roberta = load("roberta.large.mnli")
    close(roberta.predict("mnli", torch.tensor([HELLO]), return_logits=True)[0], [-0.9469, 0.3913, 0.5118])
    pairs = [
        ("Roberta is a heavily optimized version of BERT.", "Roberta is not very optimized."),
        ("Roberta is a heavily optimized version of BERT.", "Roberta is based on BERT."),
        ("potatoes are awesome.", "I like to run."),
        ("Mars is very far from earth.", "Mars is very close."),
    ]
    batch = collate_tokens([roberta.encode(*pair) for pair in pairs], pad_idx=1)
    assert roberta.predict("mnli", batch).argmax(dim=1).tolist() == [0, 2, 1, 0]


@pytest.mark.parametrize(
    ("sentence", "candidates", "wanted"),
    [
        (
            "The _trophy_ would not fit in the brown suitcase because [it] was too big.",
            ("The trophy", "the brown suitcase"),
            True,
        ),
        (
            "The trophy would not fit in the brown _suitcase_ because [it] was too big.",
            ("The trophy", "the brown suitcase"),
            False,
        ),
        (
            "The city councilmen refused the demonstrators a permit because [they] feared violence.",
            ("The city councilmen", "demonstrators"),
            "The city councilmen",
        ),
        (
            "The city councilmen refused the demonstrators a permit because [they] advocated violence.",
            ("The city councilmen", "demonstrators"),
            "demonstrators",
        ),
    ],
)
def test_pronouns_are_resolved_as_in_the_readme(
    sentence: str, candidates: tuple[str, ...], wanted: bool | str, load: Load
) -> None:
    assert load("roberta.large.wsc").disambiguate_pronoun(sentence, candidates=candidates) == wanted
