"""A disk that forgets: what of a real folder would be left if the power went now.

POSIX promises nothing about what was not synced: a file may come back empty or cut short, a name may be missing, or an
old one be there again. The folder holds what a running system sees; this keeps, beside it, what is durable.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from model.stage import actor, stepped

from pipelines.parts.store import Store


@dataclass(frozen=True)
class _Entry:
    """A durable name: which file it is, and the bytes that were durable when its folder was synced."""

    inode: int
    data: bytes
    is_folder: bool = False


class Disk:
    """What of ``root`` is durable. All that changes it must be told here, right after it was done for real."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: dict[str, dict[str, _Entry]] = {}
        self._synced: dict[int, int] = {}  # inode -> bytes of it that are durable
        self.settle()

    def sync(self, descriptor: int) -> None:
        """An fsync of a file or a folder."""
        found = os.fstat(descriptor)
        if not stat.S_ISDIR(found.st_mode):
            self._synced[found.st_ino] = found.st_size
            return
        for folder in self._tree():
            if os.stat(self.root / folder).st_ino == found.st_ino:
                self._folders[folder] = self._names(folder)

    def forget_inode(self, path: str | os.PathLike[str]) -> None:
        """The name is about to go; its inode number may be another file's soon."""
        try:
            found = os.stat(path)
        except FileNotFoundError:
            return
        if found.st_nlink == 1:
            self._synced.pop(found.st_ino, None)

    def is_durable(self, name: str) -> bool:
        """Whether a file would be there, with all its bytes, after a power cut."""
        folder, _, last = name.rpartition("/")
        if folder and not self.is_durable(folder):
            return False
        entry, path = self._folders.get(folder, {}).get(last), self.root / name
        if entry is None or not path.exists() or entry.inode != path.stat().st_ino:
            return False
        return entry.is_folder or self._synced.get(entry.inode, 0) == path.stat().st_size

    def settle(self) -> None:
        """All that is there becomes durable."""
        self._folders.clear()
        for folder in self._tree():
            for entry in os.scandir(self.root / folder):
                if not entry.is_dir():
                    self._synced[entry.inode()] = entry.stat().st_size
        for folder in self._tree():
            self._folders[folder] = self._names(folder)

    def cut_power(self, seed: int | None) -> None:
        """Lose what is not synced: all of it, or with a seed for each name and file one or the other."""
        for folder in self._tree():
            if not (self.root / folder).is_dir():
                continue  # it was not durable itself
            durable = self._folders.get(folder, {})
            for name in sorted(durable.keys() | {entry.name for entry in os.scandir(self.root / folder)}):
                place = f"{folder}/{name}".lstrip("/")
                dice = None if seed is None else random.Random(f"{seed} {place}")
                self._lose(place, durable.get(name), dice)
        self.settle()

    def _lose(self, place: str, durable: _Entry | None, dice: random.Random | None) -> None:
        path = self.root / place
        there = path.lstat() if path.exists() else None
        same = durable is not None and there is not None and durable.inode == there.st_ino
        if not same and (dice is None or dice.random() < 0.5):
            # The change of this name did not reach the disk.
            if there is not None:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            if durable is not None and not durable.is_folder and path.parent.is_dir():
                path.write_bytes(durable.data)
        elif there is not None and not stat.S_ISDIR(there.st_mode):
            kept = self._synced.get(there.st_ino, 0)
            if kept < there.st_size:
                os.truncate(path, kept if dice is None else dice.choice([kept, (kept + there.st_size) // 2]))

    def _tree(self) -> list[str]:
        """The folders, the root first, as names relative to it."""
        return ["", *sorted(entry.name for entry in os.scandir(self.root) if entry.is_dir())]

    def _names(self, folder: str) -> dict[str, _Entry]:
        before, names = self._folders.get(folder, {}), {}
        for entry in os.scandir(self.root / folder):
            inode = entry.inode()
            if entry.is_dir():
                names[entry.name] = _Entry(inode, b"", is_folder=True)
                continue
            size = self._synced.get(inode, 0)
            known = before.get(entry.name)
            if known is None or known.inode != inode or len(known.data) != size:
                known = _Entry(inode, Path(entry.path).read_bytes()[:size])
            names[entry.name] = known
        return names


def forgetful(patch: pytest.MonkeyPatch, disk_of: Callable[[], Disk]) -> None:
    """Make the system calls that change a disk steps of the processes, which may fail, and tell the disk of them.

    An fsync is noted, not done: nothing here depends on a real disk.
    """
    real_open, real_link, real_unlink = os.open, os.link, os.unlink
    real_replace, real_mkdir = os.replace, os.mkdir

    def step(what: str, path: Any, *, may_fail: bool = True) -> bool:
        who = actor()
        if who is None:
            return False
        who.step(f"{what} {Path(path).name}")
        if may_fail and who.takes("full"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return True

    def open_(path: Any, flags: int, *more: Any, **options: Any) -> int:
        if flags & os.O_CREAT:
            step("create", path)
        return real_open(path, flags, *more, **options)

    def fsync(descriptor: int) -> None:
        if step("fsync", f"fd {descriptor}"):
            disk_of().sync(descriptor)

    def link(source: Any, target: Any, **options: Any) -> None:
        step("link", target)
        real_link(source, target, **options)

    def unlink(path: Any, **options: Any) -> None:
        if step("unlink", path, may_fail=False):
            disk_of().forget_inode(path)
        real_unlink(path, **options)

    def replace(source: Any, target: Any, **options: Any) -> None:
        if step("replace", target):
            disk_of().forget_inode(target)
        real_replace(source, target, **options)

    def mkdir(path: Any, *more: Any, **options: Any) -> None:
        step("mkdir", path)
        real_mkdir(path, *more, **options)

    for name, call in (("open", open_), ("fsync", fsync), ("link", link), ("unlink", unlink), ("replace", replace)):
        patch.setattr(os, name, call)
    patch.setattr(os, "mkdir", mkdir)
    for name in ("exists", "read_if_present", "scan", "new_temporary"):
        patch.setattr(Store, name, stepped(name, getattr(Store, name)))
