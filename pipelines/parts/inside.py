"""The path of a name inside of a folder: no name and no symbolic link leads out of it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pipelines.errors import ForeignFolderError

_NO_WORDS = frozenset(("", ".", ".."))


def path_inside(root: Path, name: str) -> Path:
    """The path of a relative name with ``/``. Raises ValueError for a name that is no clean relative path,
    ForeignFolderError where a symbolic link leads out of the folder.
    """
    words = name.split("/")
    if "\0" in name or "\\" in name or not _NO_WORDS.isdisjoint(words):
        raise ValueError(f"{name!r} is no relative name without '..', '\\' and NUL: this is a bug")
    path = root / name
    if not _has_link(str(root), words):
        return path
    real, real_root = os.path.realpath(path), os.path.realpath(root)
    if os.path.commonpath([real, real_root]) != real_root:
        message = f"{path} leads to {real}, which is outside of the folder."
        raise ForeignFolderError(message, "Replace the symbolic link by what it points to.")
    return path


def _has_link(folder: str, words: list[str]) -> bool:
    """Whether a step of a way from a folder is a symbolic link; to resolve all of it takes many times as long."""
    for word in words:
        folder = f"{folder}/{word}"
        try:
            mode = os.lstat(folder).st_mode
        except OSError:
            return False  # nothing is there, or what is there leads no further
        if stat.S_ISLNK(mode):
            return True
    return False
