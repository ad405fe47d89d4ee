"""Random checkpoints with a head that reads every token: token classifiers and question answering models."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModel, AutoModelForQuestionAnswering, AutoModelForTokenClassification
from transformers.utils.logging import disable_progress_bar


def add_token_classifier(
    encoder: Path, out: Path, labels: Sequence[str], *, seed: int = 5, favourite: int | None = None
) -> Path:
    """Write the checkpoint at ``encoder`` once more, with a random token classifier on it, and return the folder.

    A ``favourite`` is the class that every token gets.
    """
    config = AutoConfig.from_pretrained(encoder)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
    return _write(encoder, out, AutoModelForTokenClassification, config, seed, favourite)


def add_question_answering(encoder: Path, out: Path, *, seed: int = 6) -> Path:
    """The same with a random question answering head."""
    config = AutoConfig.from_pretrained(encoder)
    config.num_labels = 2
    return _write(encoder, out, AutoModelForQuestionAnswering, config, seed)


def _write(encoder: Path, out: Path, kind: type, config: AutoConfig, seed: int, favourite: int | None = None) -> Path:
    """Each output has mean 0 and standard deviation 2 over random ids, or one class would win everywhere: a head that
    says one thing of all texts tests nothing.
    """
    out.mkdir(parents=True)
    for source in encoder.iterdir():
        if source.name not in ("config.json", "model.safetensors"):
            shutil.copyfile(source, out / source.name)
    torch.manual_seed(seed)
    model = kind.from_config(config).eval()
    model.base_model.load_state_dict(AutoModel.from_pretrained(encoder).state_dict(), strict=False)
    head = model.qa_outputs if hasattr(model, "qa_outputs") else model.classifier
    with torch.no_grad():
        head.weight.normal_()
        ids = torch.randint(5, config.vocab_size - 1, (64, 24))
        logits = head(model.base_model(input_ids=ids).last_hidden_state).flatten(0, 1)
        head.weight *= (2 / logits.std(dim=0))[:, None]
        head.bias.copy_(-head(model.base_model(input_ids=ids).last_hidden_state).flatten(0, 1).mean(dim=0))
        if favourite is not None:
            head.bias[favourite] += 100
    disable_progress_bar()
    model.save_pretrained(out)
    return out
