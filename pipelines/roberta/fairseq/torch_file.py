"""Files as ``torch.save`` writes them, today's (a zip archive) and those of 2019: where every tensor lies in them.

Formats: https://github.com/pytorch/pytorch, ``torch/serialization.py`` (``_save`` and ``_legacy_save``).
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipelines.errors import InputError
from pipelines.roberta.fairseq.bounded import Bounded
from pipelines.roberta.fairseq.described import PickledTensor
from pipelines.roberta.fairseq.globals import STORAGES
from pipelines.roberta.fairseq.pickled import DAMAGED, unpickled
from pipelines.roberta.tensors import CHUNK_BYTES, WIDTHS, Tensor

MAX_PICKLE_BYTES = 256 * 2**20
MAX_RECORDS = 200_000
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_ZIP_MAGIC = b"PK\x03\x04"
_PICKLE_MAGIC = b"\x80"
_LOCAL_HEADER_BYTES = 30


@dataclass(frozen=True, slots=True)
class Record:
    """The bytes [begin, end) of the file that are a storage, and their CRC-32 where the file tells it."""

    begin: int
    end: int
    crc: int | None


@dataclass(frozen=True, slots=True)
class TorchFile:
    """What a file of ``torch.save`` holds: its object, read as plain data, and its storages by key."""

    path: Path
    root: object
    records: Mapping[str, Record]

    def tensor(self, name: str, pickled: PickledTensor) -> Tensor:
        """Where a tensor of the object lies in the file. Raises InputError where it cannot lie there as described."""
        storage, place = pickled.storage, f"{self.path} has tensor {name[:80]!r}"
        dtype, record = STORAGES.get(storage.kind), self.records.get(storage.key)
        if dtype is None:
            raise InputError(f"{place} of type {storage.kind}, which is not supported.")
        if record is None or record.end - record.begin != storage.count * WIDTHS[dtype]:
            found = f"{record.end - record.begin} bytes of {storage.count * WIDTHS[dtype]}" if record else "nothing"
            raise InputError(f"{place}, but {found} where its numbers should be.", DAMAGED)
        count, first = 1, storage.offset + pickled.offset
        for size, stride in zip(reversed(pickled.shape), reversed(pickled.stride), strict=True):
            if size > 1 and stride != count:
                raise InputError(f"{place} as a view that is not contiguous.", "Save its state after .contiguous().")
            count *= size
        if first + count > storage.count:
            raise InputError(f"{place} of shape {list(pickled.shape)}, more than its storage holds.", DAMAGED)
        begin = record.begin + first * WIDTHS[dtype]
        return Tensor(name, dtype, pickled.shape, self.path, begin, begin + count * WIDTHS[dtype])

    def check(self, keys: Iterable[str]) -> None:
        """Compare the named storages with the checksums that the file has of them. Raises InputError."""
        with self.path.open("rb") as file:
            for record in sorted((self.records[key] for key in set(keys)), key=lambda record: record.begin):
                if record.crc is not None and _crc(file, record) != record.crc:
                    raise InputError(f"{self.path} is damaged: a checksum of its zip archive is not right.", DAMAGED)


def read_torch_file(path: Path) -> TorchFile:
    """Read a file of ``torch.save``. Raises InputError for anything else, and for what is damaged or not safe."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC:
                return _zipped(path, file, size)
            file.seek(0)
            return _legacy(path, file, size)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.", "Check its permissions.") from error


def _zipped(path: Path, file: IO[bytes], size: int) -> TorchFile:
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, RuntimeError, EOFError, struct.error) as error:
        raise InputError(f"{path} is cut off or damaged: {error}.", DAMAGED) from error
    names = {entry.filename: entry for entry in entries}
    if len(names) != len(entries) or len(entries) > MAX_RECORDS:
        raise InputError(f"{path} is a zip archive with {len(entries)} files, some twice or too many.", DAMAGED)
    roots = [name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise InputError(f"{path} is a zip archive, but not one of torch.save.", "Name a checkpoint of fairseq.")
    records = {name: _record(path, file, entry, size) for name, entry in names.items()}
    order = records.get(f"{roots[0]}byteorder")
    if order is not None and _bytes_of(file, order, 16) != b"little":
        raise _big_endian(path)
    described = records[f"{roots[0]}data.pkl"]
    if described.end - described.begin > MAX_PICKLE_BYTES:
        raise InputError(f"{path} has a pickle of {described.end - described.begin} bytes.", DAMAGED)
    file.seek(described.begin)
    root = unpickled(Bounded(file, described.end), str(path))
    data = f"{roots[0]}data/"
    return TorchFile(
        path, root, {name.removeprefix(data): record for name, record in records.items() if name.startswith(data)}
    )


def _record(path: Path, file: IO[bytes], entry: zipfile.ZipInfo, size: int) -> Record:
    """Where the bytes of a zip entry lie; torch stores them as they are, never packed."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size or entry.flag_bits & 1:
        raise InputError(f"{path} is a zip archive that was packed again.", "Wanted it as torch.save wrote it.")
    file.seek(max(0, entry.header_offset))
    header = file.read(_LOCAL_HEADER_BYTES)
    begin = entry.header_offset + _LOCAL_HEADER_BYTES
    begin += int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    if header[:4] != _ZIP_MAGIC or begin + entry.file_size > size:
        raise InputError(f"{path} is cut off or damaged: a file in it lies outside of it.", DAMAGED)
    return Record(begin, begin + entry.file_size, entry.CRC)


def _legacy(path: Path, file: IO[bytes], size: int) -> TorchFile:
    """Magic, protocol, machine, object, keys: five pickles; then each storage, its length in numbers before it."""
    head, place = Bounded(file, min(size, MAX_PICKLE_BYTES)), str(path)
    is_pickle = file.read(1) == _PICKLE_MAGIC
    file.seek(0)
    if not is_pickle or unpickled(head, place) != LEGACY_MAGIC:
        raise InputError(f"{path} is no file of torch.save.", "Wanted model.pt of a fairseq checkpoint.")
    unpickled(head, place)
    machine = unpickled(head, place)
    if isinstance(machine, dict) and not machine.get("little_endian", True):
        raise _big_endian(path)
    kinds: dict[str, str] = {}
    root = unpickled(head, place, kinds)
    keys = unpickled(head, place)
    records: dict[str, Record] = {}
    for key in keys if isinstance(keys, list) else ():
        width = WIDTHS.get(STORAGES.get(kinds.get(key, ""), ""), 0) if isinstance(key, str) else 0
        count = int.from_bytes(file.read(8), "little")
        begin = file.tell()
        end = begin + count * width
        if not width or end > size or key in records:
            raise InputError(f"{path} is cut off or damaged: a storage in it lies outside of it.", DAMAGED)
        records[key] = Record(begin, end, None)
        file.seek(end)
    return TorchFile(path, root, records)


def _crc(file: IO[bytes], record: Record) -> int:
    file.seek(record.begin)
    found, left = 0, record.end - record.begin
    while left and (chunk := file.read(min(left, CHUNK_BYTES))):
        found, left = zlib.crc32(chunk, found), left - len(chunk)
    return found


def _bytes_of(file: IO[bytes], record: Record, most: int) -> bytes:
    file.seek(record.begin)
    return file.read(min(record.end - record.begin, most))


def _big_endian(path: Path) -> InputError:
    return InputError(f"{path} was written on a big-endian machine.", "Save it on a little-endian one.")
