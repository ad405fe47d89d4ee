"""What the pickle of a checkpoint describes beside plain values: storages, tensors, and objects that are never made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from pipelines.roberta.fairseq.globals import Named

MAX_DIMENSIONS = 8


@dataclass(frozen=True, slots=True)
class Storage:
    """Where a tensor's numbers are: a storage of the file, of ``count`` numbers of a type such as ``FloatStorage``."""

    kind: str
    key: str
    count: int
    offset: int


@dataclass(frozen=True, slots=True)
class PickledTensor:
    """A tensor as a pickle describes it; ``offset`` and ``stride`` count numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class Attributes(dict[str, Any]):
    """What an ``argparse.Namespace`` holds."""


@dataclass(eq=False, slots=True)
class Inert:
    """An object of a listed class that is not made: the class's name, what it would be made of, and its state."""

    name: str
    arguments: tuple[object, ...]
    state: object = None


def storage_of(identity: object) -> Storage:
    """The storage that a persistent id tells of: ``("storage", type, key, device, count[, view])``.

    Raises ValueError for anything else.
    """
    match identity:
        case ("storage", Named(name), str(key), str(), int(count), *view) if _natural(count):
            match view:
                case [] | [None]:
                    return Storage(name.rpartition(".")[2], key, count, 0)
                case [(str(), int(offset), int(size))] if _natural(offset) and 0 <= size <= count - offset:
                    return Storage(name.rpartition(".")[2], key, count, offset)
    raise ValueError("its pickle refers to something that is no storage")


def tensor_of(storage: object, offset: object, shape: object, stride: object) -> PickledTensor:
    """The tensor that such a call of torch would make. Raises ValueError where it could make none."""
    if not (
        isinstance(storage, Storage) and _natural(offset) and isinstance(shape, tuple) and all(map(_natural, shape))
    ):
        raise ValueError("its pickle has a tensor without storage, place or shape")
    if len(shape) > MAX_DIMENSIONS:
        raise ValueError(f"its pickle has a tensor of {len(shape)} dimensions")
    if not isinstance(stride, tuple) or len(stride) != len(shape) or not all(map(_natural, stride)):
        raise ValueError("its pickle has a tensor with strides of another shape")
    return PickledTensor(storage, cast(int, offset), shape, stride)


def _natural(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**63
