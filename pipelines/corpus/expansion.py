"""CORPUS arguments as files: a file, everything in a folder, or what a glob matches.

A folder, or a glob, names what lies inside of it. A link in it that leads out would read files that nobody named, so it
is refused; a link that is an argument itself is named, and followed.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import NamedTuple

from pipelines.corpus.evidence import shown
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
    a glob before its first wildcard. Raises InputError where there is nothing to read, and for a link that leads out
    of the folder, or of that part of the glob.
    """
    if argument == "-":
        raise UsageError("'-' (standard input) is not a file.", "It has to be spooled first.")
    path = Path(argument)
    if path.is_dir():
        files = list(_walk(path, path))
        if not files:
            raise InputError(
                f"{shown(argument)} has no file to read.", "Names that start with '.' or '_' are left out."
            )
        return _sorted(files)
    if path.exists():
        return [_file(path, path.parent)]
    if not glob.has_magic(argument):
        remote = "Only local files are read." if "://" in argument else "Check the path."
        raise InputError(f"{shown(argument)}: no such file or folder.", remote)
    root = _fixed_part(argument)
    files = []
    for match in glob.iglob(argument, recursive=True):
        _refuse_way_out(match, root)
        if os.path.isdir(match):
            files += list(_walk(Path(match), root))
        else:
            files.append(_file(Path(match), root))
    if not files:
        raise InputError(f"{shown(argument)} matches no file.", "Check the pattern, and quote it from the shell.")
    return _sorted(files)


def _sorted(files: list[CorpusFile]) -> list[CorpusFile]:
    """In the order of their paths' bytes, each once."""
    return sorted(set(files), key=lambda file: os.fsencode(file.path))


def _walk(top: Path, root: Path) -> Iterator[CorpusFile]:
    """The files in a folder and its subfolders, each folder once: links to folders come last, when the rest is known.

    Not recursive, because folders can be nested deeper than calls; once, because links can make 2^n ways to one.
    """
    seen: set[str] = set()
    folders, links = [str(top)], list[str]()
    while folders or links:
        if not folders:
            links.sort(key=os.fsencode, reverse=True)
            folders.append(links.pop())
        folder = folders.pop()
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(_HIDDEN):
                    continue
                linked = entry.is_symlink()
                if linked:
                    _refuse_way_out(entry.path, root)
                if entry.is_dir():
                    (links if linked else folders).append(entry.path)
                else:
                    yield _file(Path(entry.path), root)


def _refuse_way_out(path: str, root: Path) -> None:
    """Raises InputError where a path within ``root`` is, after its links, not within it."""
    inside, real = os.path.realpath(root), os.path.realpath(path)
    if os.path.commonpath([inside, real]) != inside:
        raise InputError(
            f"{shown(path)} leads out of {shown(str(root))}, to {shown(real)}.",
            "Remove the link, or give what it leads to as an argument of its own.",
        )


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
        raise InputError(f"The file name {shown(absolute)} is not valid UTF-8.", "Rename the file.") from error
    if not os.path.exists(path):
        raise InputError(f"{shown(absolute)} is a link to nothing.", "Remove it, or put its target back.")
    if not os.path.isfile(path):
        raise InputError(f"{shown(absolute)} is not a regular file.", "Give a file, or '-' for standard input.")
    return CorpusFile(absolute, Path(os.path.relpath(absolute, os.path.abspath(root))).as_posix())
