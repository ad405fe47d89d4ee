"""Tensors of safetensors files: where they lie, whether the files are whole, and a digest of each.

Format: https://github.com/huggingface/safetensors#format (8 bytes little-endian header size, JSON header, data).
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import orjson

from pipelines.errors import InputError
from pipelines.roberta.config import read_json

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
MAX_HEADER_BYTES = 100 * 2**20
CHUNK_BYTES = 2**20
WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
FLOATS = ("F64", "F32", "F16", "BF16")
COPY_AGAIN = "Copy the checkpoint again."


@dataclass(frozen=True, slots=True)
class Tensor:
    """One stored tensor: its name, type and shape, and the bytes [begin, end) of ``file`` that hold it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    begin: int
    end: int


def stored_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint folder by name, sharded or not.

    Raises InputError where there are no safetensors, or where they are cut off or damaged.
    """
    if (folder / SINGLE_FILE).exists():
        return {tensor.name: tensor for tensor in _read_header(folder / SINGLE_FILE)}
    if (folder / INDEX_FILE).exists():
        return _sharded(folder)
    pickles = sorted(path.name for path in folder.glob("pytorch_model*.bin"))
    if pickles:
        raise InputError(
            f"{folder} has its weights in {pickles[0]}, a pickle, which can run code when it is loaded.",
            f"Convert it with transformers' save_pretrained, which writes {SINGLE_FILE}.",
        )
    raise InputError(
        f"{folder} has no {SINGLE_FILE}.", "Wanted a checkpoint as transformers' save_pretrained writes it."
    )


def tensor_digests(tensors: Iterable[Tensor]) -> dict[str, str]:
    """Hex SHA-256 of each tensor's bytes, by name; every byte is read once. Raises InputError."""
    digests = {}
    for tensor in sorted(tensors, key=lambda tensor: (str(tensor.file), tensor.begin)):
        digest = hashlib.sha256()
        for chunk in _chunks(tensor):
            digest.update(chunk)
        digests[tensor.name] = digest.hexdigest()
    return digests


def _chunks(tensor: Tensor) -> Iterator[bytes]:
    left = tensor.end - tensor.begin
    try:
        with tensor.file.open("rb") as file:
            file.seek(tensor.begin)
            while left:
                chunk = file.read(min(left, CHUNK_BYTES))
                if not chunk:
                    raise InputError(f"{tensor.file} ends within tensor {tensor.name!r}.", COPY_AGAIN)
                left -= len(chunk)
                yield chunk
    except OSError as error:
        raise InputError(f"{tensor.file} cannot be read: {error.strerror or error}.") from error


def _sharded(folder: Path) -> dict[str, Tensor]:
    index = folder / INDEX_FILE
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise InputError(f"{index} has no weight_map.", COPY_AGAIN)
    for name in places.values():
        if not isinstance(name, str) or os.path.basename(name) != name or not name.endswith(".safetensors"):
            raise InputError(f"{index} names the file {str(name)[:60]!r}, wanted a .safetensors file beside it.")
    tensors: dict[str, Tensor] = {}
    for name in sorted(set(places.values())):
        for tensor in _read_header(folder / name):
            if places.get(tensor.name) == name:
                tensors[tensor.name] = tensor
    missing = sorted(places.keys() - tensors.keys())
    if missing:
        raise InputError(f"{folder} lacks tensor {missing[0]!r}, which {INDEX_FILE} lists.", COPY_AGAIN)
    return tensors


def _read_header(path: Path) -> list[Tensor]:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, MAX_HEADER_BYTES):
                raise InputError(f"{path} is cut off or no safetensors file ({size} bytes).", COPY_AGAIN)
            header = orjson.loads(file.read(length))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise InputError(f"{path} has a damaged header: {error}.", COPY_AGAIN) from error
    if not isinstance(header, dict):
        raise InputError(f"{path} has a damaged header: no JSON object.", COPY_AGAIN)
    start = 8 + length
    tensors = [_tensor(path, name, entry, start) for name, entry in header.items() if name != "__metadata__"]
    place = start
    for tensor in sorted(tensors, key=lambda tensor: (tensor.begin, tensor.end)):
        if tensor.begin != place:
            raise InputError(f"{path} has a gap or an overlap before tensor {tensor.name!r}.", COPY_AGAIN)
        place = tensor.end
    if place != size:
        state = "cut off" if place > size else "longer than its header says"
        raise InputError(f"{path} is {state}: {size} bytes, wanted {place}.", COPY_AGAIN)
    return tensors


def _tensor(path: Path, name: str, entry: Any, start: int) -> Tensor:
    damaged = InputError(f"{path} has a damaged entry for tensor {name[:60]!r}.", COPY_AGAIN)
    if not isinstance(entry, Mapping):
        raise damaged
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2:
        raise damaged
    if dtype not in WIDTHS:
        raise InputError(f"{path} has tensor {name[:60]!r} of type {dtype[:20]}, which is not supported.")
    if offsets[1] - offsets[0] != math.prod(shape) * WIDTHS[dtype]:
        raise damaged
    return Tensor(name, dtype, tuple(shape), path, start + offsets[0], start + offsets[1])


def _naturals(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)
