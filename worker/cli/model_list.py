"""The models that have a name: those of the original tool set, and the user's own folders."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from pipelines.errors import InputError
from pipelines.roberta.download import is_cached
from pipelines.roberta.names import HUB_IDS, resolve


class State(StrEnum):
    """How near a model is."""

    FOLDER = "folder"
    CACHED = "cached"
    HUB = "hub"
    MISSING = "missing"


class Known(NamedTuple):
    """A model's name, how near it is, and the folder, hub id or advice that it leads to."""

    name: str
    state: State
    place: str


def known_models(folder: Path) -> list[Known]:
    """The known names first, then the other folders in ``folder``, by name. Asks no hub."""
    own = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    return [
        _known(name, folder) for name in (*HUB_IDS, *(name for name in own if name not in HUB_IDS and name[0] != "."))
    ]


def _known(name: str, folder: Path) -> Known:
    try:
        place = resolve(name, folder)
    except InputError as error:
        return Known(name, State.MISSING, error.hint)
    if place == HUB_IDS.get(name):
        return Known(name, State.CACHED if is_cached(place) else State.HUB, place)
    return Known(name, State.FOLDER, place)
