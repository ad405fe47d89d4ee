"""Where the files of a checkpoint are: beside a file, in a folder, or in a tar archive, which is unpacked with care."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import tarfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, cast

from pipelines.errors import InputError, SurroundingsError
from pipelines.roberta.fairseq.bounded import Bounded
from pipelines.roberta.fairseq.dictionary import MAX_TEXT_BYTES
from pipelines.roberta.fairseq.pickled import DAMAGED
from pipelines.roberta.tensors import CHUNK_BYTES

MODEL_NAMES = ("model.pt", "checkpoint_best.pt")
TEXT_NAMES = ("dict.txt", "vocab.bpe", "merges.txt", "encoder.json")
MAX_MEMBERS = 10_000
FREE_BYTES = 2**30
"""What an archive may become whatever its size."""
MAX_RATIO = 50
"""Bytes given for each byte of the archive after that. Weights hardly get smaller when they are packed."""
_READERS: Mapping[bytes, Callable[..., object]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_TAR_FAULTS = (tarfile.TarError, EOFError, ValueError, OverflowError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


def open_source(path: Path, scratch: Path) -> Path:
    """The file of the model; its dictionaries lie beside it. Archives are unpacked into ``scratch``.

    Raises InputError where there is no model, or several, and for an archive that is damaged or out to do harm.
    """
    try:
        if path.is_dir():
            return _model_in(path)
        if not path.is_file():
            raise InputError(f"There is no file or folder {path}.", "Name model.pt, its folder, or its archive.")
        with path.open("rb") as file:
            start = file.read(512)
        packed = any(start.startswith(magic) for magic in _READERS)
        if not packed and start[257:262] != b"ustar":
            return path
        _unpack(path, start, scratch)
        return _model_in(scratch, path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.", "Is it whole?") from error


def _model_in(folder: Path, named: Path | None = None) -> Path:
    found = sorted(folder.glob("*.pt")) or sorted(folder.glob("*/*.pt"))
    for name in MODEL_NAMES:
        matches = [path for path in found if path.name == name]
        if len(matches) == 1:
            return matches[0]
    if len(found) != 1:
        names = ", ".join(path.name for path in found[:8])
        raise InputError(
            f"{named or folder} holds {f'several models: {names}' if found else 'no model (*.pt)'}.",
            "Name the file of the model itself." if found else "Wanted model.pt with its dict.txt.",
        )
    return found[0]


def _unpack(path: Path, start: bytes, scratch: Path) -> None:
    reader = next((reader for magic, reader in _READERS.items() if start.startswith(magic)), None)
    limit = max(FREE_BYTES, MAX_RATIO * path.stat().st_size) if reader else path.stat().st_size
    try:
        with cast("IO[bytes]", reader(path, "rb") if reader else path.open("rb")) as stream:
            bounded = cast("IO[bytes]", Bounded(stream, limit))
            with tarfile.open(fileobj=bounded, mode="r:") as archive:
                for count, member in enumerate(archive):
                    if count >= MAX_MEMBERS:
                        raise InputError(f"{path} holds more than {MAX_MEMBERS} files.", "Name the unpacked folder.")
                    if member.offset_data + member.size > limit:
                        raise InputError(f"{path} would give over {limit} bytes: a bomb?", "Unpack it yourself first.")
                    _take(path, archive, member, scratch)
    except _TAR_FAULTS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} is cut off or damaged: {reason[:200]}.", DAMAGED) from error


def _take(path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo, scratch: Path) -> None:
    """Unpack one file, if it is one that is wanted; refuse what no archive of a model has reason to hold."""
    place = PurePosixPath(member.name)
    if place.is_absolute() or ".." in place.parts:
        raise InputError(f"{path} holds {member.name[:80]!r}, a path that leads out of it.", "Do not unpack it.")
    if member.isdir():
        return
    if not member.isreg() or member.issparse():
        raise InputError(f"{path} holds {member.name[:80]!r}, a link or a device.", "Wanted files only.")
    text = place.name in TEXT_NAMES
    if not (text or place.suffix == ".pt") or place.name.startswith("._"):
        return
    if text and member.size > MAX_TEXT_BYTES:
        raise InputError(f"{path} holds {member.name[:80]!r} of {member.size} bytes.", "Wanted the files of a model.")
    if member.size > shutil.disk_usage(scratch).free:
        raise SurroundingsError(f"{scratch.parent} has no room for {member.size} bytes.", "Make room there.")
    target = scratch / place
    target.parent.mkdir(parents=True, exist_ok=True)
    content, left = archive.extractfile(member), member.size
    with target.open("xb") as file:
        while content is not None and left and (chunk := content.read(min(left, CHUNK_BYTES))):
            file.write(chunk)
            left -= len(chunk)
    if left:
        raise EOFError(f"it ends within {member.name[:80]!r}")
