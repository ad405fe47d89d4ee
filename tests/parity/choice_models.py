"""Random checkpoints with a head that scores choices: transformers' for multiple choice, or one output as fairseq's."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModel, AutoModelForMultipleChoice, AutoModelForSequenceClassification
from transformers.utils.logging import disable_progress_bar


def add_choice_head(encoder: Path, out: Path, *, ranking: bool = False, seed: int = 3) -> Path:
    """Write the checkpoint at ``encoder`` once more, with a random head on it, and return the folder.

    Its weights are wide enough apart that choices differ: a head that says one thing of all texts tests nothing.
    """
    out.mkdir(parents=True)
    for source in encoder.iterdir():
        if source.name not in ("config.json", "model.safetensors"):
            shutil.copyfile(source, out / source.name)
    config = AutoConfig.from_pretrained(encoder)
    if ranking:
        config.num_labels = 1
    torch.manual_seed(seed)
    model = (AutoModelForSequenceClassification if ranking else AutoModelForMultipleChoice).from_config(config)
    model.base_model.load_state_dict(AutoModel.from_pretrained(encoder).state_dict(), strict=False)
    heads = [model.classifier] if ranking else [model.classifier, model.base_model.pooler]
    with torch.no_grad():
        for parameter in (parameter for head in heads for parameter in head.parameters()):
            parameter.normal_(std=0.3)
    disable_progress_bar()
    model.save_pretrained(out)
    return out
