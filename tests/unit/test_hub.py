"""By hand: arguments and results as fairseq's users know them, and what is refused, in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from parity.lm_models import add_lm_head
from unit.odd_strings import SLOW_FUZZ_STRINGS, odd_strings

from pipelines.errors import DocumentError, InputError
from pipelines.hub import ArgumentError, ClassificationHead, Roberta, TokensError, collate_tokens


@pytest.fixture(scope="module")
def roberta(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Roberta:
    return Roberta.load(str(add_lm_head(tiny_model, tmp_path_factory.mktemp("hub") / "lm"))).eval()


@pytest.fixture(scope="module")
def bare(tiny_model: Path) -> Roberta:
    return Roberta.load(str(tiny_model))


def test_ids_are_int64_and_come_back(roberta: Roberta) -> None:
    tokens = roberta.encode("the river", " turns </s>")
    assert tokens.dtype is torch.int64
    assert roberta.decode(tokens) == ["the river", " turns </s>"]
    assert roberta.decode(roberta.encode("the river", " turns", no_separator=True)) == "the river turns"
    assert roberta.decode(roberta.encode("")) == ""
    with pytest.raises(ValueError, match="wanted one row"):
        roberta.decode(tokens[None])


def test_shapes_are_those_of_fairseq(roberta: Roberta) -> None:
    tokens = roberta.encode("the river turns the old mill")
    features = roberta.extract_features(tokens)
    assert features.shape == (1, len(tokens), 64)
    assert features.dtype is torch.float32
    layers = roberta.extract_features(tokens[None], return_all_hiddens=True)
    assert [layer.shape for layer in layers] == [features.shape] * 3
    assert torch.equal(layers[-1], features)
    assert (roberta.device, roberta.max_positions) == (torch.device("cpu"), 128)


def test_rows_of_ids_become_a_batch(roberta: Roberta) -> None:
    rows = [torch.tensor([0, 5, 2]), torch.tensor([0, 2])]
    assert collate_tokens(rows).tolist() == [[0, 5, 2], [0, 2, 1]]
    assert collate_tokens(rows, pad_idx=9, left_pad=True).tolist() == [[0, 5, 2], [9, 0, 2]]
    assert collate_tokens(rows).dtype is torch.int64
    with pytest.raises(TokensError, match="no rows"):
        collate_tokens([])


@pytest.mark.parametrize(
    ("tokens", "found"),
    [
        (torch.zeros(129, dtype=torch.int64), "tokens exceeds maximum length: 129 > 128"),
        (torch.zeros((2, 130), dtype=torch.int64), "tokens exceeds maximum length: 130 > 128"),
        (torch.zeros(0, dtype=torch.int64), "A row has no tokens"),
        (torch.zeros((0, 3), dtype=torch.int64), "A row has no tokens"),
        (torch.tensor([[0, 5, 2], [1, 1, 1]]), "A row has no tokens"),
        (torch.tensor([0, 600, 2]), "An id is not in 0 to 599"),
        (torch.tensor([0, -1, 2]), "An id is not in 0 to 599"),
        (torch.tensor([0.0, 2.0]), "a tensor of torch.float32 and shape .2., wanted whole numbers"),
        (torch.tensor([True]), "wanted whole numbers"),
        (torch.zeros((1, 1, 3), dtype=torch.int64), "wanted 1-D or 2-D"),
    ],
)
def test_ids_that_the_model_cannot_take_are_value_errors(roberta: Roberta, tokens: torch.Tensor, found: str) -> None:
    with pytest.raises(ValueError, match=found) as error:
        roberta.extract_features(tokens)
    assert isinstance(error.value, TokensError)


def test_a_registered_head_can_be_trained_on_what_the_encoder_gives(bare: Roberta) -> None:
    torch.manual_seed(0)
    bare.register_classification_head("topic", num_classes=3)
    batch = collate_tokens([bare.encode("the river"), bare.encode("a pump turns")])
    scores = bare.predict("topic", batch)
    assert scores.shape == (2, 3)
    assert scores.exp().sum(dim=-1).tolist() == pytest.approx([1, 1])
    logits = bare.predict("topic", batch, return_logits=True)
    assert torch.allclose(logits.log_softmax(-1), scores)
    logits.sum().backward()
    head = bare.heads["topic"]
    assert isinstance(head, ClassificationHead)
    assert head.dense.weight.grad is not None
    assert head.dense.weight.grad.abs().sum() > 0

    with pytest.warns(UserWarning, match="head 'topic' already"):
        bare.register_classification_head("topic", 5, embedding_size=64, inner_dim=7)
    assert bare.predict("topic", batch).shape == (2, 5)


NOT_TEXT, NOT_IDS = "wanted a text. Give", "wanted a tensor of ids. encode"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda hand: hand.encode(5), f"A sentence is 5, {NOT_TEXT}"),
        (lambda hand: hand.encode("a", None), f"A sentence is None, {NOT_TEXT}"),
        (lambda hand: hand.encode(["a"]), f"A sentence is of type list, {NOT_TEXT}"),
        (lambda hand: hand.decode("x"), f"Tokens: found 'x', {NOT_IDS}"),
        (lambda hand: hand.decode([0, 2]), f"Tokens: found of type list, {NOT_IDS}"),
        (lambda hand: hand.decode(torch.tensor([0.5])), "wanted whole numbers"),
        (
            lambda hand: hand.decode(torch.tensor([0, 99999])),
            "There is no token 99999 in a vocabulary of 600. Give ids",
        ),
        (lambda hand: hand.extract_features("abc"), f"Tokens: found 'abc', {NOT_IDS}"),
        (lambda hand: hand.extract_features(None), f"Tokens: found None, {NOT_IDS}"),
        (lambda hand: hand.extract_features_aligned_to_words(5), "the words are 5, wanted several texts. Give"),
        (lambda hand: hand.extract_features_aligned_to_words(["a", 5]), f"Number 2 of the words is 5, {NOT_TEXT}"),
        (lambda hand: hand.predict(hand.encode("a"), "x"), f"The head is a tensor of torch.int64 and .*{NOT_TEXT}"),
        (lambda hand: hand.predict([], hand.encode("a")), f"The head is of type list, {NOT_TEXT}"),
        (lambda hand: hand.predict("calm", "a text"), f"Tokens: found 'a text', {NOT_IDS}"),
        (lambda hand: hand.fill_mask(None), f"The text is None, {NOT_TEXT}"),
        (lambda hand: hand.fill_mask("<mask>", topk=0), "topk is 0, wanted at least 1. Give"),
        (lambda hand: hand.fill_mask("<mask>", topk="5"), "topk is '5', wanted at least 1. Give"),
        (lambda hand: hand.disambiguate_pronoun(3), f"The sentence is 3, {NOT_TEXT}"),
        (lambda hand: hand.disambiguate_pronoun("[it]", "a mill"), "the candidates are 'a mill', wanted several texts"),
        (lambda hand: hand.disambiguate_pronoun("[it]", ["a", 1]), f"Number 2 of the candidates is 1, {NOT_TEXT}"),
        (lambda hand: hand.register_classification_head("x", 0), "num_classes is 0, wanted at least 1. Give"),
        (lambda hand: hand.register_classification_head("x", "two"), "num_classes is 'two', wanted"),
        (lambda hand: hand.register_classification_head("x", True), "num_classes is True, wanted"),
        (lambda hand: hand.register_classification_head("x", 2**31 - 1, inner_dim=2**31 - 1), "no memory holds"),
        (lambda hand: hand.register_classification_head("x", 2, inner_dim=0), "inner_dim is 0, wanted"),
        (
            lambda hand: hand.register_classification_head("x", 2, embedding_size=65),
            "embedding_size is 65, the model's",
        ),
        (lambda hand: hand.register_classification_head(None, 2), f"The name of the head is None, {NOT_TEXT}"),
        (lambda hand: Roberta.load(5), f"The model is 5, {NOT_TEXT}"),
        (lambda hand: Roberta.load(hand.model.path, device=None), f"The device is None, {NOT_TEXT}"),
        (lambda hand: collate_tokens(["a"]), f"Row 0: found 'a', {NOT_IDS}"),
        (lambda hand: collate_tokens([torch.zeros((1, 2), dtype=torch.int64)]), "Row 0 has shape"),
    ],
)
def test_arguments_of_another_kind_are_refused_in_one_line(
    roberta: Roberta, call: Callable[[Roberta], object], said: str
) -> None:
    roberta.heads.setdefault("calm", ClassificationHead(64, 2))
    with pytest.raises(ValueError, match=said) as caught:
        call(roberta)
    assert isinstance(caught.value, ArgumentError)
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    assert "x" not in roberta.heads


def test_a_checkpoint_s_classifier_goes_by_the_names_of_fairseq(
    tiny_classifier: Path, tiny_model: Path, make_model: Callable[..., Path], texts: list[str], tmp_path: Path
) -> None:
    calm = Roberta.load(str(tiny_classifier))
    assert list(calm.heads) == ["classifier", "sentence_classification_head"]
    labels = ("CONTRADICTION", "NEUTRAL", "ENTAILMENT")
    mnli = Roberta.load(str(make_model(texts, tmp_path / "mnli", labels=labels, encoder_from=tiny_model)))
    assert list(mnli.heads) == ["classifier", "sentence_classification_head", "mnli"]
    tokens = mnli.encode("the river turns", "a pump")
    assert torch.equal(mnli.predict("mnli", tokens), mnli.predict("classifier", tokens))
    flipped = make_model(texts, tmp_path / "flipped", labels=labels[::-1], encoder_from=tiny_model)
    assert "mnli" not in Roberta.load(str(flipped)).heads, "whoever asks for fairseq's head expects its order"
    config = flipped / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"fairseq_head": "imdb_head"}))
    assert "imdb_head" in Roberta.load(str(flipped)).heads


def test_a_mask_is_filled(roberta: Roberta) -> None:
    filled = roberta.fill_mask("the river <mask> the old mill.", topk=7)
    assert len(filled) == 7
    assert [probability for _, probability, _ in filled] == sorted((row[1] for row in filled), reverse=True)
    for text, _, token in filled:
        assert text == f"the river{token} the old mill."
    everything = roberta.fill_mask("<mask>", topk=10**6)
    assert len(everything) == 600
    assert sum(probability for _, probability, _ in everything) == pytest.approx(1, abs=1e-4)
    assert {"<s>", "</s>", "<pad>", "<mask>"} <= {token for _, _, token in everything}
    with pytest.raises(DocumentError, match="2 times"):
        roberta.fill_mask("<mask><mask>")
    with pytest.raises(TokensError, match="maximum length"):
        roberta.fill_mask("<mask>" + " the river" * 200)


def test_pronouns_have_candidates(roberta: Roberta) -> None:
    sentence = "The _trophy_ is not in the suitcase because [it] is too big."
    weighed = roberta.weigh_pronoun(sentence, candidates=["the suitcase", "The trophy"])
    assert weighed.query is not None
    assert weighed.query[0] == "trophy"
    assert [text for text, _ in weighed.candidates] == ["the suitcase"]
    assert roberta.disambiguate_pronoun(sentence, ["the suitcase"]) is weighed.answer
    free = roberta.disambiguate_pronoun("The trophy: [it] is.", ["the suitcase", " the trophy "])
    assert free in ("the suitcase", "the trophy")
    with pytest.raises(DocumentError, match="no candidate for the pronoun beside 'trophy'"):
        roberta.disambiguate_pronoun(sentence, ["trophy", "The trophy"])
    with pytest.raises(DocumentError, match="no candidate for the pronoun\\."):
        roberta.disambiguate_pronoun("[it]", [" "])


def test_a_task_that_the_model_cannot_do_is_refused_with_what_it_has(bare: Roberta, tiny_classifier: Path) -> None:
    with pytest.raises(InputError, match="has no language model head, it is an encoder with a pooler"):
        bare.fill_mask("<mask>")
    classifier = Roberta.load(str(tiny_classifier))
    with pytest.raises(InputError, match="has no language model head"):
        classifier.disambiguate_pronoun("[it]", ["a"])
    with pytest.raises(InputError, match="has no head 'mnli', it has 'classifier', 'sentence_classification_head'"):
        classifier.predict("mnli", classifier.encode("a"))


def test_words_are_given_or_found(bare: Roberta) -> None:
    found = bare.extract_features_aligned_to_words("The river don’t  stop\n")
    assert [str(word) for word in found] == ["<s>", "The", "river", "do", "n’t", "stop", "</s>"]
    assert [(word.begin, word.end) for word in found[1:-1]] == [(0, 3), (4, 9), (10, 12), (12, 15), (17, 21)]
    tokens = bare.extract_features(bare.encode("The river don’t  stop\n"))[0]
    total = torch.stack([word.vector for word in found]).sum(dim=0)
    assert (total - tokens.sum(dim=0)).abs().max() < 1e-4
    given = bare.extract_features_aligned_to_words(["The", "river", "", "don’t"], return_all_hiddens=True)
    assert [word.text for word in given] == ["<s>", "The", "river", "", "don’t", "</s>"]
    assert {tuple(word.vector.shape) for word in given} == {(3, 64)}
    assert not given[3].vector.any()
    assert [word.text for word in bare.extract_features_aligned_to_words("")] == ["<s>", "</s>"]
    with pytest.raises(DocumentError, match="half of a surrogate pair"):
        bare.extract_features_aligned_to_words("a\ud800")


def test_words_of_any_string_add_up_in_every_layer(
    make_model: Callable[..., Path], texts: list[str], tmp_path: Path
) -> None:
    roberta = Roberta.load(str(make_model(texts, tmp_path / "model", vocab_size=600, hidden_size=32)))
    for text in odd_strings(SLOW_FUZZ_STRINGS, seed=17):
        words = roberta.extract_features_aligned_to_words(text, return_all_hiddens=True)
        layers = torch.stack(roberta.extract_features(roberta.encode(text), return_all_hiddens=True))[:, 0]
        sums = torch.stack([word.vector for word in words]).sum(dim=0)
        assert (sums - layers.sum(dim=1)).abs().max() < 1e-4, repr(text)
        assert "".join(word.text for word in words[1:-1]) == "".join(text.split())


def test_numbers_and_devices_that_there_are(tiny_model: Path) -> None:
    half = Roberta.load(str(tiny_model), dtype="bfloat16")
    assert half.extract_features(half.encode("the river")).dtype is torch.float32
    with pytest.raises(InputError, match="no number format 'auto'"):
        Roberta.load(str(tiny_model), dtype="auto")
    with pytest.raises(InputError, match="no device 'gpu'"):
        Roberta.load(str(tiny_model), device="gpu")
    with pytest.raises(InputError, match="no model folder"):
        Roberta.load("nowhere")
    with pytest.raises(InputError, match=r"roberta.large.wsc is not on the model hub") as error:
        Roberta.load("roberta.large.wsc", models=tiny_model.parent)
    assert "penstock model import-fairseq" in error.value.hint
    assert str(tiny_model.parent / "roberta.large.wsc") in error.value.hint


def test_a_name_is_looked_for_among_ones_models(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "roberta.large.wsc")
    there = Roberta.load("roberta.large.wsc", models=tmp_path)
    assert (there.model.path, there.model.digest) == (
        str(tmp_path / "roberta.large.wsc"),
        Roberta.load(str(tiny_model)).model.digest,
    )


def test_the_schemas_of_winograd_get_an_answer(
    test_data: Path, make_model: Callable[..., Path], texts: list[str], tmp_path: Path
) -> None:
    """A random model's answers are chance: what is tested is that every sentence has one."""
    roberta = Roberta.load(str(add_lm_head(make_model(texts, tmp_path / "encoder", layers=1), tmp_path / "lm")))
    blocks = (test_data / "wsc" / "wsc273.txt").read_text(encoding="utf-8").strip().split("\n\n")
    assert len(blocks) == 273
    answers = []
    for block in blocks:
        text, pronoun, candidates, _ = block.split("\n")
        choices = [candidate.strip() for candidate in candidates.split(",")]
        marked = text.replace(pronoun.strip(), "[it]")
        answers.append(choices.index(str(roberta.disambiguate_pronoun(marked, choices))))
    assert len(set(answers)) == 2
