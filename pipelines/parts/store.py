"""Files under one folder, written whole or not at all, and created by exactly one of many writers.

A file is written under ``_tmp/``, synced, then hard-linked to its name: linking fails where the name exists, so the
first writer wins and readers never see half a file. The folder is synced too, else a power cut could lose the name.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipelines.errors import InfrastructureError
from pipelines.parts.inside import path_inside
from pipelines.parts.layout import TEMPORARY

_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
_HINTS = {
    errno.ENOSPC: "Free some space or choose another folder; what is committed stays.",
    errno.EDQUOT: "Raise the quota or choose another folder; what is committed stays.",
    errno.EACCES: "Give this user the right to write there.",
    errno.EROFS: "Choose a folder on a writable file system.",
}
_AT_FDCWD = -100
_RENAME_NOREPLACE = 1  # linux/fs.h
_BLOCK_BYTES = 1 << 20
_durable_folders: set[Path] = set()
"""Folders of stores whose names this process knows to be durable."""


@contextlib.contextmanager
def storage(action: str, path: Path | str) -> Iterator[None]:
    """Turn any OSError inside into an InfrastructureError of one line."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise InfrastructureError(f"{path}: cannot {action}: {reason}.", _HINTS.get(error.errno or 0, "")) from error


@dataclass(frozen=True, slots=True)
class Store:
    """A run's folder. Names are relative with ``/``; every failing system call becomes an InfrastructureError."""

    root: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(os.path.abspath(self.root)))

    def path(self, name: str) -> Path:
        """The path of a name. Raises ValueError for a name that is no clean relative path, ForeignFolderError where
        a symbolic link leads out of the folder.
        """
        return path_inside(self.root, name)

    def create(self) -> None:
        """Make the folder itself. All else is written only where it is there: one that was removed stays away."""
        with storage("make", self.root):
            _make_folder(self.root, None)

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Create a file with these bytes; False, and nothing changed, where the name is already taken."""
        return self.publish(self._write_temporary(data), name)

    def publish(self, temporary: Path, name: str) -> bool:
        """Give a written temporary file its name, as :meth:`put_if_absent`; the temporary is gone afterwards."""
        try:
            target = self.path(name)
            with storage("write", target):
                _sync_file(temporary)
                _make_folder(target.parent, self.root)
                won = _link_if_absent(temporary, target)
                # Also after a lost race: whoever acts on the file's existence relies on its name being durable.
                _sync_folder(target.parent)
        finally:
            _discard(temporary)
        return won

    def replace(self, name: str, data: bytes, *, mode: int | None = None) -> None:
        """Write a file in one step, over an older one if there is one; ``mode`` defaults to what the umask says."""
        self.replace_by(self._write_temporary(data, mode), name)

    def replace_by(self, temporary: Path, name: str) -> None:
        """As :meth:`replace`, by a written temporary file."""
        try:
            target = self.path(name)
            with storage("write", target):
                _sync_file(temporary)
                _make_folder(target.parent, self.root)
                os.replace(temporary, target)
                _sync_folder(target.parent)
        finally:
            _discard(temporary)

    def append(self, name: str, line: bytes) -> None:
        """Add one line to a file that only one process writes, without sync: for what can be recomputed."""
        path = self.path(name)
        with storage("write", path):
            _make_folder(path.parent, self.root)
            with open(path, "ab", buffering=0) as file:
                file.write(line + b"\n")

    def read(self, name: str) -> bytes:
        """The bytes of a file. Raises FileNotFoundError where there is none."""
        data = self.read_if_present(name)
        if data is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.path(name)))
        return data

    def read_if_present(self, name: str) -> bytes | None:
        """The bytes of a file, or None where there is none."""
        path = self.path(name)
        with storage("read", path), contextlib.suppress(FileNotFoundError):
            return path.read_bytes()
        return None

    def open(self, name: str) -> BinaryIO:
        """A file opened for reading; the caller closes it."""
        path = self.path(name)
        with storage("read", path):
            return path.open("rb")

    def digest(self, name: str) -> tuple[int, str]:
        """Size in bytes and hex SHA-256 of a file, read in blocks."""
        digest, size = hashlib.sha256(), 0
        with self.open(name) as file, storage("read", name):
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
                size += len(block)
        return size, digest.hexdigest()

    def exists(self, name: str) -> bool:
        """Whether there is a file (or folder) of this name."""
        path = self.path(name)
        with storage("look for", path), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.stat()
            return True
        return False

    def size(self, name: str) -> int:
        """Bytes of a file."""
        path = self.path(name)
        with storage("read", path):
            return path.stat().st_size

    def scan(self, folder: str) -> Iterator[str]:
        """The names in a folder in no order, without holding them all; nothing where there is no folder."""
        path = self.path(folder)
        with storage("list", path), contextlib.suppress(FileNotFoundError), os.scandir(path) as entries:
            for entry in entries:
                yield entry.name

    def list(self, folder: str) -> list[str]:
        """The names in a folder, sorted; empty where there is no folder."""
        return sorted(self.scan(folder))

    def remove(self, name: str) -> bool:
        """Remove a file; False where there was none."""
        path = self.path(name)
        with storage("remove", path), contextlib.suppress(FileNotFoundError):
            path.unlink()
            _sync_folder(path.parent)
            return True
        return False

    def settle(self, folder: str) -> None:
        """Make durable what a folder holds, if there is one: whoever named a file there may not have come to it yet."""
        path = self.path(folder)
        with storage("sync", path), contextlib.suppress(FileNotFoundError):
            _sync_folder(path)

    def new_temporary(self) -> Path:
        """A path under ``_tmp/`` that nobody else uses; its folder exists, the file does not yet."""
        path = self.path(f"{TEMPORARY}/temp-{secrets.token_hex(16)}")
        with storage("write", path):
            _make_folder(path.parent, self.root)
        return path

    def sweep_temporaries(self, older_than_s: float) -> int:
        """Remove what killed writers left behind; returns how many files went."""
        limit, removed = time.time() - older_than_s, 0
        for name in self.list(TEMPORARY):
            path = self.path(f"{TEMPORARY}/{name}")
            if not name.startswith("temp-"):
                continue
            with storage("remove", path), contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < limit:
                    path.unlink()
                    removed += 1
        return removed

    def probe_put_if_absent(self) -> bool:
        """Whether the storage keeps its promise: of two writers of one name the second is refused."""
        name = f"{TEMPORARY}/temp-probe-{secrets.token_hex(16)}"
        try:
            outcomes = self.put_if_absent(name, b"first"), self.put_if_absent(name, b"second")
            return outcomes == (True, False) and self.read_if_present(name) == b"first"
        finally:
            self.remove(name)

    def _write_temporary(self, data: bytes, mode: int | None = None) -> Path:
        path = self.new_temporary()
        try:
            with storage("write", path):
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else mode)
                with open(descriptor, "wb") as file:
                    file.write(data)
        except BaseException:
            _discard(path)
            raise
        return path


def _link_if_absent(temporary: Path, target: Path) -> bool:
    try:
        os.link(temporary, target)
        return True
    except FileExistsError:
        # NFS may repeat a request whose answer was lost; the second link count tells that the first one was ours.
        return os.stat(temporary).st_nlink > 1
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        return _rename_if_absent(temporary, target)


def _rename_if_absent(temporary: Path, target: Path) -> bool:
    """The same on file systems without hard links (exFAT, some FUSE): renameat2(2), which Linux has since 3.15."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    number = errno.ENOSYS
    if rename is not None:
        source, destination = os.fsencode(temporary), os.fsencode(target)
        if rename(_AT_FDCWD, source, _AT_FDCWD, destination, _RENAME_NOREPLACE) == 0:
            return True
        number = ctypes.get_errno()
    if number == errno.EEXIST:
        return False
    if number in (errno.EINVAL, errno.ENOSYS):
        message = f"{target.parent} is on a file system with neither hard links nor renaming without replacement."
        raise InfrastructureError(message, "Choose a folder on another file system: nothing there can be committed.")
    raise OSError(number, os.strerror(number), str(target))


def _make_folder(folder: Path, root: Path | None) -> None:
    there = folder.is_dir()
    if there and (folder == root or folder in _durable_folders):
        return
    if folder == root:
        raise FileNotFoundError(errno.ENOENT, f"{root} is gone")
    if not there:
        _make_folder(folder.parent, root)
        folder.mkdir(exist_ok=True)
    # Also where it is there already: whoever made it may not have come this far.
    _sync_folder(folder.parent)
    _durable_folders.add(folder)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    try:
        _sync_file(folder)
    except OSError as error:
        # Some network file systems have no fsync for folders; they make names durable on their own.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def _discard(temporary: Path) -> None:
    with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)
