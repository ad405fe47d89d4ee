"""Checkpoints that fairseq itself wrote, of 2019 and later, compute here what they computed there.

fairseq_files/make.py says how the archives were made; the weights are random.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import RobertaForMaskedLM, RobertaForSequenceClassification, RobertaModel
from transformers.utils import logging

from pipelines.roberta.fairseq.importing import Asked, import_fairseq

logging.set_verbosity_error()  # a head that a class of transformers does not want is reported at length
FILES = Path(__file__).with_name("fairseq_files")
IDS = [0, 5, 17, 200, 99, 31, 280, 2]


def expected(archive: Path) -> dict[str, Any]:
    with tarfile.open(archive) as opened:
        content = opened.extractfile("./expected.json")
        assert content is not None
        return {name: torch.tensor(values) for name, values in json.load(content).items()}


@pytest.mark.parametrize("version", ["0.8.0", "0.9.0", "0.12.2", "0.12.2-cfg"])
def test_outputs_are_those_of_fairseq(version: str, tmp_path: Path) -> None:
    archive = FILES / f"{version}.tar.gz"
    wanted, ids = expected(archive), torch.tensor([IDS])
    for head in ("mnli", "race"):
        import_fairseq(archive, tmp_path / head, Asked(head=head))
        with torch.inference_mode():
            logits = RobertaForSequenceClassification.from_pretrained(tmp_path / head).eval()(ids).logits[0]
        torch.testing.assert_close(logits, wanted[head], atol=1e-5, rtol=1e-5)
    with torch.inference_mode():
        encoder = RobertaModel.from_pretrained(tmp_path / "mnli", add_pooling_layer=False).eval()
        torch.testing.assert_close(encoder(ids).last_hidden_state[0], wanted["features"], atol=1e-5, rtol=1e-5)
        lm = RobertaForMaskedLM.from_pretrained(tmp_path / "mnli").eval()
        torch.testing.assert_close(lm(ids).logits[0], wanted["lm"], atol=1e-5, rtol=1e-5)
