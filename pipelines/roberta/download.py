"""Fetch a checkpoint from the model hub, or from its cache on this machine; the rest of penstock sees a folder.

The hub is asked once before anything is fetched, and where it does not answer, the cache alone is. The client would do
the same by itself, but only after half a minute of tries that it prints.
"""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError

from pipelines.errors import InputError
from pipelines.roberta.config import parse_config, read_json
from pipelines.roberta.names import HUB_IDS

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
    away = None
    try:
        away = _why_away(name, "config.json", revision)
        cached = away is not None
        config = Path(hf_hub_download(name, "config.json", revision=revision or None, local_files_only=cached))
        commit = config.parent.name
        parse_config(read_json(config), f"{source}/config.json")
        folder = snapshot_download(name, revision=commit, allow_patterns=WANTED, local_files_only=cached)
        return Path(folder), commit
    except InputError:
        raise
    except Exception as error:  # the hub's client raises its own errors and those of the HTTP library under it
        raise _refused(source, error, away) from error


def hub_file(name: str, file: str) -> Path:
    """A file of a model of the hub, from the cache alone where the hub cannot be reached.

    Raises whatever the hub's client raises, and the HTTP library under it, where neither has the file.
    """
    return Path(hf_hub_download(name, file, local_files_only=_why_away(name, file, "") is not None))


def is_cached(name: str) -> bool:
    """Whether the cache of this machine has a checkpoint of the hub, its config and weights; the hub is not asked."""
    weights = ("model.safetensors", "model.safetensors.index.json")
    return any(all(isinstance(try_to_load_from_cache(name, file), str) for file in ("config.json", w)) for w in weights)


def _why_away(name: str, file: str, revision: str) -> Exception | None:
    """Why the hub does not answer, or None where it does, be it with a refusal: what that means, its client knows."""
    url = hf_hub_url(name, file, revision=revision or None)
    try:
        get_hf_file_metadata(url)
    except HfHubHTTPError:
        return None
    except Exception as error:  # the HTTP library's own, which is another one from version to version
        return error
    return None


def _refused(source: str, error: Exception, away: Exception | None) -> InputError:
    name, _, revision = source.partition("@")
    known = next((known for known, hub_id in HUB_IDS.items() if hub_id == name and not revision), None)
    asked = source if known is None else f"{known}, {source} on the model hub,"
    if away is not None:
        return InputError(
            f"{asked} is in no folder or cache here, and the model hub cannot be reached: {_reason(away)}.",
            "Check the network, or copy the model here and name its folder.",
        )
    return InputError(
        f"There is no folder {source!r}, and the model hub gave no such model: {_reason(error)}.",
        "Check the name, HF_TOKEN for a private model, and the network.",
    )


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).partition(". ")[0][:200].rstrip(".") or type(error).__name__
