"""What is imported from fairseq computes what it computed there, and goes back to the bit."""

from __future__ import annotations

import json
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoTokenizer,
    RobertaForMaskedLM,
    RobertaForSequenceClassification,
    RobertaModel,
)
from transformers.utils import logging
from unit import fairseq_models
from unit.fairseq_models import State, forward, of_2019, write

from pipelines.roberta.checkpoint import find
from pipelines.roberta.fairseq.exporting import export_fairseq
from pipelines.roberta.fairseq.importing import Asked, import_fairseq
from pipelines.roberta.fairseq.torch_file import read_torch_file

logging.set_verbosity_error()  # a head that a class of transformers does not want is reported at length
IDS = [0, 5, 17, 200, 99, 31, 280, 2]
HEAD = "mnli"


def today(state: State) -> dict[str, Any]:
    """As fairseq of 2021 and later writes it: cfg of plain dictionaries."""
    model = vars(fairseq_models.arguments(_name="roberta_base"))
    return {"args": None, "cfg": {"_name": None, "model": model, "task": {"_name": "masked_lm"}}, "model": state}


def old(state: State) -> dict[str, Any]:
    """As fairseq of 2019 wrote it: a Namespace, an OrderedDict, half precision."""
    halves = OrderedDict((name, tensor.half()) for name, tensor in of_2019(state).items())
    return {"args": fairseq_models.arguments(max_positions=None), "model": halves}


def with_namespace(state: State) -> dict[str, Any]:
    """As fairseq of 2020 wrote it."""
    return {"args": fairseq_models.arguments(), "model": state}


LAYOUTS: dict[str, tuple[Callable[[State], dict[str, Any]], bool]] = {
    "2019": (old, True),
    "2020": (with_namespace, False),
    "today": (today, False),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("tied", [True, False])
def test_outputs_are_those_of_fairseq(layout: str, tied: bool, tmp_path: Path) -> None:
    make, legacy = LAYOUTS[layout]
    source = fairseq_models.state(heads={HEAD: 3}, tied=tied)
    if make is old:
        source = {name: tensor.half() for name, tensor in source.items()}
    if tied:
        source["encoder.lm_head.weight"] = source["encoder.sentence_encoder.embed_tokens.weight"]
    write(tmp_path / "source", make(source) | fairseq_models.extras(source), legacy=legacy)
    imported = import_fairseq(tmp_path / "source", tmp_path / "made")
    assert (imported.head, imported.model.labels) == (HEAD, ("contradiction", "neutral", "entailment"))
    wanted, ids = forward(source, IDS, HEAD), torch.tensor([IDS])
    with torch.inference_mode():
        encoder = RobertaModel.from_pretrained(tmp_path / "made", add_pooling_layer=False).eval()
        assert encoder.dtype == torch.float32
        torch.testing.assert_close(encoder(ids).last_hidden_state[0], wanted["features"], atol=1e-5, rtol=1e-5)
        lm = RobertaForMaskedLM.from_pretrained(tmp_path / "made").eval()
        torch.testing.assert_close(lm(ids).logits[0], wanted["lm"].float(), atol=1e-5, rtol=1e-5)
        classifier = RobertaForSequenceClassification.from_pretrained(tmp_path / "made").eval()
        torch.testing.assert_close(classifier(ids).logits[0], wanted["logits"], atol=1e-5, rtol=1e-5)
    assert wanted["logits"].std() > 0.05


def assert_same(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert tensor.dtype == second[name].dtype, name
        assert torch.equal(tensor, second[name]), name


@pytest.mark.parametrize("layout", LAYOUTS)
def test_there_and_back_gives_the_same_tensors(layout: str, tmp_path: Path) -> None:
    make, legacy = LAYOUTS[layout]
    source = fairseq_models.state(heads={"race": 1})
    if make is old:
        source = {name: tensor.half() for name, tensor in source.items()}
    write(tmp_path / "source", make(source), legacy=legacy)
    first = import_fairseq(tmp_path / "source", tmp_path / "first").model
    exported = export_fairseq(first, tmp_path / "exported")
    assert (exported.head, exported.notes) == ("race", ())
    file = torch.load(tmp_path / "exported" / "model.pt", weights_only=False)  # our own, written just now
    assert_same(file["model"], source)
    assert file["model"]["encoder.lm_head.weight"].data_ptr() == (
        file["model"]["encoder.sentence_encoder.embed_tokens.weight"].data_ptr()
    )
    assert isinstance(file["args"], Namespace)
    for name in ("dict.txt", "vocab.bpe"):
        assert (tmp_path / "exported" / name).read_bytes() == (tmp_path / "source" / name).read_bytes()
    second = import_fairseq(tmp_path / "exported", tmp_path / "second").model
    assert (second.digest, second.tokenizer_digest) == (first.digest, first.tokenizer_digest)
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_a_folder_of_transformers_goes_there_and_back(tiny_classifier: Path, tmp_path: Path) -> None:
    exported = export_fairseq(find(str(tiny_classifier)), tmp_path / "exported")
    assert exported.head == "sentence_classification_head"
    assert [note.split(",")[0].split(";")[0] for note in exported.notes] == [
        "its token types are not zero",
        "it has no language model head",
    ]
    back = import_fairseq(tmp_path / "exported", tmp_path / "back")
    assert back.model.labels == ("calm", "busy", "loud")
    before, after = load_file(tiny_classifier / "model.safetensors"), load_file(tmp_path / "back" / "model.safetensors")
    folded = "roberta.embeddings.position_embeddings.weight", "roberta.embeddings.token_type_embeddings.weight"
    assert_same(
        {k: v for k, v in before.items() if k not in folded}, {k: v for k, v in after.items() if k not in folded}
    )
    text = "the river fills a heavy wheel"
    logits = []
    for folder in (tiny_classifier, tmp_path / "back"):
        tokens = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
        with torch.inference_mode():
            logits.append(RobertaForSequenceClassification.from_pretrained(folder).eval()(**tokens).logits)
    torch.testing.assert_close(*logits, atol=1e-5, rtol=1e-5)


def test_the_tensors_that_are_described_are_those_that_torch_loads(tmp_path: Path) -> None:
    whole = torch.randn(6, 5)
    tensors = {"whole": whole, "rows": whole[2:4], "one": whole[3, 2], "half": torch.randn(3, 2).to(torch.bfloat16)}
    for legacy in (False, True):
        path = tmp_path / f"{legacy}.pt"
        torch.save(tensors | {"parameter": torch.nn.Parameter(whole)}, path, _use_new_zipfile_serialization=not legacy)
        file = read_torch_file(path)
        assert isinstance(file.root, dict)
        for name, wanted in torch.load(path, weights_only=True).items():
            found = file.tensor(name, file.root[name])
            content = path.read_bytes()[found.begin : found.end]
            assert found.shape == wanted.shape
            assert torch.equal(torch.frombuffer(bytearray(content), dtype=wanted.dtype).view(wanted.shape), wanted)


def test_several_heads_are_imported_one_at_a_time(tmp_path: Path) -> None:
    source = fairseq_models.state(heads={"sst": 2, "race": 1, "topics": 5})
    write(tmp_path / "source", today(source))
    for head, outputs in (("sst", 2), ("race", 1), ("topics", 5)):
        imported = import_fairseq(tmp_path / "source", tmp_path / head, Asked(head=head))
        assert imported.left_out == tuple(name for name in ("race", "sst", "topics") if name != head)
        model = RobertaForSequenceClassification.from_pretrained(tmp_path / head).eval()
        with torch.inference_mode():
            logits = model(torch.tensor([IDS])).logits[0]
        torch.testing.assert_close(logits, forward(source, IDS, head)["logits"], atol=1e-5, rtol=1e-5)
        config = json.loads((tmp_path / head / "config.json").read_text())
        assert len(config["id2label"]) == outputs == model.num_labels
