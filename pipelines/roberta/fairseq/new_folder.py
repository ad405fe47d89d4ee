"""A folder that is written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipelines.errors import ForeignFolderError, SurroundingsError


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """An empty folder to write into, beside ``out``; it becomes ``out`` where nothing was raised, else it is removed.

    Raises ForeignFolderError where ``out`` holds anything already, SurroundingsError where it cannot be written.
    """
    out = Path(os.path.abspath(out))
    _refuse_filled(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{out.name[:100]}.", dir=out.parent))
    except OSError as error:
        raise _unwritable(out, error) from error
    try:
        made = scratch / "made"
        made.mkdir()  # not the folder of mkdtemp, which nobody else may read
        yield made
        _flush(made)
        _refuse_filled(out)
        os.rename(made, out)
    except OSError as error:
        raise _unwritable(out, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _refuse_filled(out: Path) -> None:
    try:
        filled = out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir())))
    except OSError as error:
        raise _unwritable(out, error) from error
    if filled:
        raise ForeignFolderError(f"{out} is there and is not an empty folder.", "Name a new folder by --out.")


def _flush(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _unwritable(out: Path, error: OSError) -> SurroundingsError:
    return SurroundingsError(
        f"{out} cannot be written: {error.strerror or error}.", "Make room, or name another --out."
    )
