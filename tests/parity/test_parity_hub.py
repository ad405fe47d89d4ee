"""By hand: hidden states, classes and filled masks are those of transformers on the same weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from parity.conftest import LABELS, LONG, MODEL_TYPES, ODD_TEXTS
from parity.lm_models import add_lm_head
from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoTokenizer

from pipelines.hub import Roberta, collate_tokens
from pipelines.roberta.lm_head import LMHead

TOLERANCE = 1e-5
SHAPES = {
    "wide": {"hidden_size": 96, "heads": 3, "layers": 1, "intermediate": 200},
    "deep": {"hidden_size": 48, "heads": 4, "layers": 5, "intermediate": 96},
}
MASKED = (
    "The river <mask> the old mill.",
    "<mask> turns",
    "a pump   <mask>",
    "日本の<mask>, 👩🏽‍🚀",
    "seven</s><mask>\ngates  ",
)


@pytest.fixture(scope="module")
def folders(
    checkpoints: dict[str, tuple[Path, Path]],
    make_model: Callable[..., Path],
    texts: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    """Encoders of several types and shapes."""
    root = tmp_path_factory.mktemp("shapes")
    made = {kind: encoder for kind, (encoder, _) in checkpoints.items()}
    for name, sizes in SHAPES.items():
        made[name] = make_model(texts, root / name, vocab_size=500, max_positions=220, **sizes)
    return made


@pytest.mark.parametrize("name", [*MODEL_TYPES, *SHAPES])
def test_every_layer_is_that_of_transformers(name: str, folders: dict[str, Path], texts: list[str]) -> None:
    roberta = Roberta.load(str(folders[name]))
    oracle = AutoModel.from_pretrained(folders[name], attn_implementation="eager").eval()
    for text in (texts[0], texts[6], texts[120], *ODD_TEXTS):
        tokens = roberta.encode(text)[: roberta.max_positions]
        with torch.inference_mode():
            expected = oracle(input_ids=tokens[None], output_hidden_states=True).hidden_states
        found = roberta.extract_features(tokens, return_all_hiddens=True)
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.shape == theirs.shape
            assert (ours - theirs).abs().max() <= TOLERANCE
        assert torch.equal(roberta.extract_features(tokens), found[-1])


@pytest.mark.parametrize("left_pad", [False, True])
def test_a_padded_batch_is_its_rows(left_pad: bool, folders: dict[str, Path], texts: list[str]) -> None:
    roberta = Roberta.load(str(folders["roberta"]))
    rows = [roberta.encode(text) for text in (texts[0], texts[6], "", "x")]
    batch = collate_tokens(rows, pad_idx=1, left_pad=left_pad)
    features = roberta.extract_features(batch)
    assert features.shape == (4, max(map(len, rows)), 64)
    for number, row in enumerate(rows):
        real = batch[number] != 1
        assert (features[number][real] - roberta.extract_features(row)[0]).abs().max() <= TOLERANCE
        assert not features[number][~real].any()


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_classes_are_those_of_transformers(
    model_type: str, checkpoints: dict[str, tuple[Path, Path]], texts: list[str]
) -> None:
    folder = checkpoints[model_type][1]
    roberta = Roberta.load(str(folder))
    assert roberta.model.labels == LABELS
    oracle = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    rows = [roberta.encode(text) for text in texts[:20]] + [roberta.encode(texts[0], texts[1]), roberta.encode("")]
    batch = collate_tokens(rows, pad_idx=1)
    logits = roberta.predict("classifier", batch, return_logits=True)
    scores = roberta.predict("sentence_classification_head", batch)
    for number, row in enumerate(rows):
        with torch.inference_mode():
            expected = oracle(input_ids=row[None]).logits[0]
        assert (logits[number] - expected).abs().max() <= TOLERANCE
        assert (scores[number] - expected.log_softmax(-1)).abs().max() <= TOLERANCE
    assert len(set(logits.argmax(-1).tolist())) > 1


@pytest.mark.parametrize("model_type", MODEL_TYPES)
@pytest.mark.parametrize("tied", [True, False])
def test_filled_masks_are_those_of_transformers(
    model_type: str, tied: bool, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = add_lm_head(folders[model_type], tmp_path / "lm", tied=tied)
    roberta = Roberta.load(str(folder))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    oracle = AutoModelForMaskedLM.from_pretrained(folder, attn_implementation="eager").eval()
    best = set()
    for text in MASKED:
        before, after = (roberta.encode(side.rstrip()).tolist()[1:-1] for side in text.split("<mask>"))
        row = torch.tensor([[tokenizer.bos_token_id, *before, tokenizer.mask_token_id, *after, tokenizer.eos_token_id]])
        with torch.inference_mode():
            expected = oracle(input_ids=row).logits[0, 1 + len(before)].softmax(-1)
        filled = roberta.fill_mask(text, topk=20)
        values, ids = expected.topk(20)
        assert np.abs(np.array([probability for _, probability, _ in filled]) - values.numpy()).max() <= TOLERANCE
        pieces = tokenizer.convert_ids_to_tokens(ids.tolist())
        if model_type == "roberta":
            shown = [tokenizer.convert_tokens_to_string([piece]) for piece in pieces]
        else:
            shown = [piece.replace("▁", " ") for piece in pieces]
        assert [token for _, _, token in filled] == shown
        assert all("<mask>" not in whole or token == "<mask>" for whole, _, token in filled)
        best.add(filled[0][2])
    assert len(best) > 1, "a head that says one thing of all texts tests nothing"


def test_the_language_model_head_has_an_activation_of_its_own(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = add_lm_head(folders["deep"], tmp_path / "lm")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_act": "relu", "layer_norm_eps": 1e-2}))
    roberta = Roberta.load(str(folder))
    oracle = AutoModelForMaskedLM.from_pretrained(folder, attn_implementation="eager").eval()
    head, tokens = LMHead.load(roberta.model, roberta.device), roberta.encode("the river turns seven gates")
    with torch.inference_mode():
        expected = oracle(input_ids=tokens[None]).logits[0]
        found = head.logits(roberta.extract_features(tokens)[0])
    assert (found - expected).abs().max() <= 10 * TOLERANCE  # logits: probabilities are compared above
    truth = expected.log_softmax(-1).gather(1, tokens[:, None])[:, 0]
    assert (head.log_probabilities(roberta.extract_features(tokens)[0], tokens) - truth).abs().max() <= TOLERANCE


def test_a_pronoun_is_what_the_language_model_finds_likeliest(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = add_lm_head(folders["roberta"], tmp_path / "lm")
    roberta = Roberta.load(str(folder))
    tokenizer = AutoTokenizer.from_pretrained(folder, split_special_tokens=True)
    oracle = AutoModelForMaskedLM.from_pretrained(folder, attn_implementation="eager").eval()
    candidates = ["the river", "a pump of our valley", "The old mill"]

    def expected(prefix: str, candidate: str, suffix: str) -> float:
        """The mean log probability of the candidate's tokens, masked together, without ``<s>``."""
        ids = tokenizer(prefix + candidate + suffix, add_special_tokens=False)["input_ids"]
        start = len(tokenizer(prefix.rstrip(), add_special_tokens=False)["input_ids"])
        size = len(tokenizer(" " * prefix.endswith(" ") + candidate, add_special_tokens=False)["input_ids"])
        masked = [*ids, 2]
        masked[start : start + size] = [tokenizer.mask_token_id] * size
        with torch.inference_mode():
            scores = oracle(input_ids=torch.tensor([masked])).logits[0].log_softmax(-1)
        return float(np.mean([scores[place, ids[place]] for place in range(start, start + size)]))

    for prefix, suffix in (("the keeper measures ", ", and it turns."), ("", " forgets seven gates"), ("so “", "”!")):
        weighed = roberta.weigh_pronoun(f"{prefix}[it]{suffix}", candidates)
        truth = {candidate: expected(prefix, candidate, suffix) for candidate in candidates}
        assert dict(weighed.candidates) == pytest.approx(truth, abs=TOLERANCE)
        best = max(truth, key=lambda candidate: truth[candidate])
        assert roberta.disambiguate_pronoun(f"{prefix}[it]{suffix}", candidates) == best
        for query in candidates:
            marked = f"_{query}_ and {prefix}[it]{suffix}"
            values = {candidate: expected(f"{query} and {prefix}", candidate, suffix) for candidate in candidates}
            answer = roberta.disambiguate_pronoun(marked, candidates)
            assert answer is (values[query] == max(values.values()))


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_words_add_up_to_the_tokens_of_transformers(model_type: str, folders: dict[str, Path]) -> None:
    roberta = Roberta.load(str(folders[model_type]))
    oracle = AutoModel.from_pretrained(folders[model_type], attn_implementation="eager").eval()
    for text in (*ODD_TEXTS, "", "don't  stop "):
        if text == LONG:
            continue
        tokens = roberta.encode(text)
        if len(tokens) > roberta.max_positions:
            with pytest.raises(ValueError, match="tokens exceeds maximum length"):
                roberta.extract_features_aligned_to_words(text)
            continue
        with torch.inference_mode():
            states = oracle(input_ids=tokens[None], output_hidden_states=True).hidden_states
        words = roberta.extract_features_aligned_to_words(text, return_all_hiddens=True)
        sums = torch.stack([word.vector for word in words]).sum(dim=0)
        assert (sums - torch.stack(states)[:, 0].sum(dim=1)).abs().max() < 1e-4
        assert (words[0].vector - torch.stack(states)[:, 0, 0]).abs().max() <= TOLERANCE
        last = roberta.extract_features_aligned_to_words(text)
        assert [str(word) for word in last] == [word.text for word in words]
        assert all(torch.equal(one.vector, all_.vector[-1]) for one, all_ in zip(last, words, strict=True))
