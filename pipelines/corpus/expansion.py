"""CORPUS arguments as files: a file, everything in a folder, or what a glob matches."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import NamedTuple

from pipelines.errors import InputError, UsageError

_HIDDEN = (".", "_")


class CorpusFile(NamedTuple):
    """A file of the corpus: absolute path and the name that ids are made from."""

    path: str
    name: str


def expand(argument: str) -> list[CorpusFile]:
    """The files of one CORPUS argument.

    A folder is read with its subfolders; files and folders in it whose names start with ``.`` or ``_`` are left
    out. Folders and globs are ordered by the bytes of the path. Names are relative to the folder, or to the part of
    a glob before its first wildcard. Raises InputError where there is nothing to read.
    """
    if argument == "-":
        raise UsageError("'-' (standard input) is not a file.", "It has to be spooled first.")
    path = Path(argument)
    if path.is_dir():
        files = list(_walk(path, path))
        if not files:
            raise InputError(f"{argument} has no file to read.", "Names that start with '.' or '_' are left out.")
        return _sorted(files)
    if path.exists():
        return [_file(path, path.parent)]
    if not glob.has_magic(argument):
        remote = "Only local files are read." if "://" in argument else "Check the path."
        raise InputError(f"{_shown(argument)}: no such file or folder.", remote)
    root = _fixed_part(argument)
    files = []
    for match in glob.iglob(argument, recursive=True):
        if os.path.isdir(match):
            files += list(_walk(Path(match), root))
        else:
            files.append(_file(Path(match), root))
    if not files:
        raise InputError(f"{_shown(argument)} matches no file.", "Check the pattern, and quote it from the shell.")
    return _sorted(files)


def _sorted(files: list[CorpusFile]) -> list[CorpusFile]:
    """In the order of their paths' bytes, each once."""
    return sorted(set(files), key=lambda file: os.fsencode(file.path))


def _walk(folder: Path, root: Path, above: frozenset[str] = frozenset()) -> Iterator[CorpusFile]:
    real = os.path.realpath(folder)
    if real in above:
        return  # a link to a folder around it
    for entry in os.scandir(folder):
        if entry.name.startswith(_HIDDEN):
            continue
        if entry.is_dir():
            yield from _walk(Path(entry.path), root, above | {real})
        else:
            yield _file(Path(entry.path), root)


def _fixed_part(pattern: str) -> Path:
    """The folder of a glob before its first wildcard."""
    fixed: list[str] = []
    for part in PurePath(pattern).parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return Path(*fixed)


def _file(path: Path, root: Path) -> CorpusFile:
    absolute = os.path.abspath(path)
    try:
        absolute.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"The file name {_shown(absolute)} is not valid UTF-8.", "Rename the file.") from error
    if not os.path.exists(path):
        raise InputError(f"{absolute} is a link to nothing.", "Remove it, or put its target back.")
    if not os.path.isfile(path):
        raise InputError(f"{absolute} is not a regular file.", "Give a file, or '-' for standard input.")
    return CorpusFile(absolute, Path(os.path.relpath(absolute, os.path.abspath(root))).as_posix())


def _shown(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()
