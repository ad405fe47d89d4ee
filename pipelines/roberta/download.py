"""Fetch a checkpoint from the model hub, or from its cache on this machine; the rest of penstock sees a folder."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import hf_hub_download, snapshot_download, try_to_load_from_cache

from pipelines.errors import InputError
from pipelines.roberta.config import parse_config, read_json

WANTED = [
    *("config.json", "model.safetensors", "model.safetensors.index.json", "model-*.safetensors"),
    *("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"),
    *("modules.json", "sentence_bert_config.json", "*/config.json", "*_Dense/model.safetensors"),
]


def download(source: str) -> tuple[Path, str]:
    """The local folder and the commit of ``org/name[@revision]``; config.json comes first and is checked first.

    Works from the cache alone where the hub cannot be reached. Raises InputError where neither has the checkpoint.
    """
    name, _, revision = source.partition("@")
    try:
        config = Path(hf_hub_download(name, "config.json", revision=revision or None))
        commit = config.parent.name
        parse_config(read_json(config), f"{source}/config.json")
        return Path(snapshot_download(name, revision=commit, allow_patterns=WANTED)), commit
    except InputError:
        raise
    except Exception as error:  # the hub's client raises its own errors and those of the HTTP library under it
        reason = " ".join(str(error).split()).partition(". ")[0]
        raise InputError(
            f"There is no folder {source!r}, and the model hub gave no such model: {reason[:200].rstrip('.')}.",
            "Check the name, HF_TOKEN for a private model, and the network.",
        ) from error


def is_cached(name: str) -> bool:
    """Whether the cache of this machine has a checkpoint of the hub, its config and weights; the hub is not asked."""
    weights = ("model.safetensors", "model.safetensors.index.json")
    return any(all(isinstance(try_to_load_from_cache(name, file), str) for file in ("config.json", w)) for w in weights)
