"""Random checkpoints with a language model head, and what transformers computes with them."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM
from transformers.utils.logging import disable_progress_bar


def add_lm_head(encoder: Path, out: Path, *, tied: bool = True, seed: int = 7) -> Path:
    """Write the checkpoint at ``encoder`` once more, with a random language model head on it, and return the folder.

    The head is wide enough apart that texts and its parts matter: small weights would make every answer the same.
    """
    out.mkdir(parents=True)
    for source in encoder.iterdir():
        if source.name not in ("config.json", "model.safetensors"):
            shutil.copyfile(source, out / source.name)
    config = AutoConfig.from_pretrained(encoder)
    config.tie_word_embeddings = tied
    torch.manual_seed(seed)
    model = AutoModelForMaskedLM.from_config(config)
    model.base_model.load_state_dict(AutoModel.from_pretrained(encoder).state_dict(), strict=False)
    with torch.no_grad():
        for name, tensor in model.lm_head.named_parameters():
            if not name.startswith("decoder.weight"):
                tensor.normal_(std=0.3)
        model.lm_head.layer_norm.weight.add_(1)
    if tied:
        model.tie_weights()
    disable_progress_bar()
    model.save_pretrained(out)
    return out
