"""A folder of sentence-transformers: its ``modules.json`` says how token vectors become the model's embedding.

Read as sentence-transformers 5.1 writes it (``sentence_transformers/models/{Pooling,Dense,Normalize}.py``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.errors import InputError
from pipelines.roberta.config import MAX_CONFIG_BYTES, read_json
from pipelines.roberta.dense import find_dense
from pipelines.spec.dense import Dense

MODULES = "modules.json"
_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
}


@dataclass(frozen=True, slots=True)
class SentenceModel:
    """What a folder asks for: the name of the pooling, the layers behind it, whether the result is normalised, and the
    most tokens that it was made for, if it says so.
    """

    pooling: str
    dense: tuple[Dense, ...]
    normalize: bool
    max_tokens: int | None


def read_sentence_model(folder: Path, source: str, hidden_size: int) -> SentenceModel:
    """Raises InputError where the folder has no ``modules.json``, or one that asks for what cannot be had."""
    modules = _modules(folder, source)
    kinds = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
    if kinds[:2] != ["Transformer", "Pooling"]:
        raise InputError(
            f"{source} is made of {', '.join(kinds) or 'nothing'}.",
            "Wanted Transformer, Pooling, and then Dense or Normalize.",
        )
    pooling = _pooling(folder / _path(modules[1], source), source)
    width, dense, normalize = hidden_size, list[Dense](), False
    for module, kind in zip(modules[2:], kinds[2:], strict=True):
        if normalize or kind not in ("Dense", "Normalize"):
            raise InputError(f"{source} has a module {kind} that cannot be computed where it stands.")
        if kind == "Normalize":
            normalize = True
        else:
            dense.append(find_dense(folder, _path(module, source), width))
            width = dense[-1].outputs
    return SentenceModel(pooling, tuple(dense), normalize, _max_tokens(folder, source))


def _modules(folder: Path, source: str) -> list[dict[str, Any]]:
    file = folder / MODULES
    try:
        if file.stat().st_size > MAX_CONFIG_BYTES:
            raise ValueError("it is too large")
        modules = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise InputError(
            f"{source} has no {MODULES}: it does not say how its embedding is made.", "Use --embed mean, cls or max."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file} cannot be read: {error}.", "Copy the model again.") from error
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise InputError(f"{file} is no list of modules.", "Copy the model again.")
    return modules


def _path(module: dict[str, Any], source: str) -> str:
    path = module.get("path")
    if not isinstance(path, str) or not path or Path(path).is_absolute() or ".." in Path(path).parts:
        raise InputError(f"{source} has a module in {path!r}, wanted a folder of its own.", "Copy the model again.")
    return path


def _pooling(place: Path, source: str) -> str:
    config = read_json(place / "config.json")
    said = config.get("pooling_mode")
    modes = (
        [said]
        if isinstance(said, str)
        else [key for key, on in config.items() if key.startswith("pooling_mode_") and on]
    )
    found = [_MODES.get(mode, mode) for mode in modes]
    if len(found) != 1 or found[0] not in _MODES.values():
        names = ", ".join(mode.removeprefix("pooling_mode_") for mode in found) or "nothing"
        raise InputError(f"{source} pools by {names}, wanted one of {', '.join(_MODES.values())}.")
    return found[0]


def _max_tokens(folder: Path, source: str) -> int | None:
    file = folder / "sentence_bert_config.json"
    if not file.exists():
        return None
    config = read_json(file)
    if config.get("do_lower_case"):
        raise InputError(f"{source} wants its texts in lower case.", "Lower them in the corpus; --embed auto does not.")
    limit = config.get("max_seq_length")
    return limit if isinstance(limit, int) and not isinstance(limit, bool) and limit > 2 else None
