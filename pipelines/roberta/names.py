"""The names that the original tool set's users know its models by, and where each is to be found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from pipelines.errors import InputError

MODELS = "~/.local/share/penstock/models"
"""Where a user's models are, each in a folder of its name, unless something else is said."""
HUB_IDS: Mapping[str, str | None] = MappingProxyType(
    {
        "roberta.base": "FacebookAI/roberta-base",
        "roberta.large": "FacebookAI/roberta-large",
        "roberta.large.mnli": "FacebookAI/roberta-large-mnli",
        "roberta.large.wsc": None,
    }
)
"""Name → id on the model hub; None where the hub has no such model, only fairseq's archive."""


def resolve(name: str, folder: Path) -> str:
    """What ``checkpoint.find`` is to be asked for: a path, or an id of the hub.

    A path that is there is taken as it is; else a folder of that name in ``folder``, the user's models; else the hub's
    id of a known name. Raises InputError for a known name that neither has, saying how to import it.
    """
    if not is_plain(name) or Path(name).exists():
        return name
    imported = folder / name
    if imported.is_dir():
        return str(imported)
    if name not in HUB_IDS:
        return name
    hub_id = HUB_IDS[name]
    if hub_id is None:
        raise InputError(
            f"{name} is not on the model hub, and there is no folder {imported}.",
            f"Get fairseq's archive (its examples/roberta/README.md links it), then "
            f"`penstock model import-fairseq {name}.tar.gz --out {imported}`.",
        )
    return hub_id


def is_plain(name: str) -> bool:
    """Whether a text can be the name of a folder in the models folder, rather than a path or an id of the hub."""
    return (
        bool(name) and Path(name).name == name and name not in (".", "..") and len(name.encode(errors="replace")) < 256
    )
