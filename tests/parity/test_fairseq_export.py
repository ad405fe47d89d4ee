"""What transformers saved goes to fairseq's files where fairseq can have it, and is refused or said where it cannot."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    PreTrainedModel,
    RobertaForMaskedLM,
    RobertaForMultipleChoice,
    RobertaForQuestionAnswering,
    RobertaForSequenceClassification,
    RobertaForTokenClassification,
    RobertaModel,
)
from transformers.utils import logging

from pipelines.errors import InputError
from pipelines.roberta.checkpoint import find
from pipelines.roberta.fairseq.exporting import export_fairseq
from pipelines.roberta.fairseq.importing import import_fairseq

logging.set_verbosity_error()  # a head that a class of transformers does not want is reported at length
IDS = [0, 5, 17, 200, 99, 31, 280, 2]
Save = Callable[..., tuple[Path, PreTrainedModel]]


@pytest.fixture
def save(tiny_model: Path, tmp_path: Path) -> Save:
    """Save a random model of a class of transformers with the tokenizer of the tiny one; token types are zero."""

    def make(model_class: type[PreTrainedModel], **config: Any) -> tuple[Path, PreTrainedModel]:
        folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
        torch.manual_seed(1)
        model = model_class(AutoConfig.from_pretrained(tiny_model, **config)).eval()
        model.base_model.embeddings.token_type_embeddings.weight.data.zero_()
        model.save_pretrained(folder)
        return folder, model

    return make


@pytest.mark.parametrize("tied", [True, False])
def test_a_language_model_comes_back_to_the_bit(tied: bool, save: Save, tmp_path: Path) -> None:
    folder, _ = save(RobertaForMaskedLM, tie_word_embeddings=tied)
    assert export_fairseq(find(str(folder)), tmp_path / "exported").notes == ()
    arguments = torch.load(tmp_path / "exported" / "model.pt", weights_only=False)["args"]  # our own, written just now
    assert arguments.untie_weights_roberta is not tied
    import_fairseq(tmp_path / "exported", tmp_path / "back")
    before, after = load_file(folder / "model.safetensors"), load_file(tmp_path / "back" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert json.loads((tmp_path / "back" / "config.json").read_text())["tie_word_embeddings"] is tied


def test_a_head_of_multiple_choice_becomes_one_of_one_output(save: Save, tmp_path: Path) -> None:
    folder, model = save(RobertaForMultipleChoice)
    assert export_fairseq(find(str(folder)), tmp_path / "exported").head == "sentence_classification_head"
    import_fairseq(tmp_path / "exported", tmp_path / "back")
    ranking = RobertaForSequenceClassification.from_pretrained(tmp_path / "back").eval()
    with torch.inference_mode():
        torch.testing.assert_close(ranking(torch.tensor([IDS])).logits, model(torch.tensor([[IDS]])).logits)


def test_what_is_left_out_is_said(save: Save, tmp_path: Path) -> None:
    folder, _ = save(RobertaModel)
    notes = export_fairseq(find(str(folder)), tmp_path / "exported").notes
    assert [note.split(",")[0] for note in notes] == ["it has no language model head", "its pooler"]


@pytest.mark.parametrize("labels", [("a", "a b"), ("a\nb", "c"), ("madeupword0", "x"), (" a", "b")])
def test_labels_are_listed_where_a_dictionary_can_have_them(
    labels: tuple[str, ...], save: Save, tmp_path: Path
) -> None:
    folder, _ = save(RobertaForSequenceClassification, id2label=dict(enumerate(labels)))
    notes = export_fairseq(find(str(folder)), tmp_path / "exported").notes
    listed = labels == ("a", "a b")
    assert any("labels" in note for note in notes) is not listed
    found = import_fairseq(tmp_path / "exported", tmp_path / "back").model.labels
    assert found == (labels if listed else ("LABEL_0", "LABEL_1"))


@pytest.mark.parametrize(
    ("model_class", "config", "said"),
    [
        (RobertaForQuestionAnswering, {}, "no question answering head"),
        (RobertaForTokenClassification, {"num_labels": 5}, "no token classifier head"),
        (RobertaForMaskedLM, {"layer_norm_eps": 1e-12}, "layer_norm_eps"),
        (RobertaForMaskedLM, {"hidden_act": "silu"}, "silu"),
        (RobertaForMaskedLM, {"hidden_act": "relu"}, "language model head and activation relu"),
        (RobertaForMaskedLM, {"vocab_size": 700}, "embeddings of 700 tokens and a tokenizer of 600"),
    ],
)
def test_what_fairseq_cannot_have_is_refused(
    model_class: type[PreTrainedModel], config: dict[str, Any], said: str, save: Save, tmp_path: Path
) -> None:
    folder, _ = save(model_class, **config)
    with pytest.raises(InputError) as caught:
        export_fairseq(find(str(folder)), tmp_path / "exported")
    assert said in str(caught.value)
    assert list(tmp_path.glob("*exported*")) == []
