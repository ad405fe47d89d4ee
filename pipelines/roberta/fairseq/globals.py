"""The classes and functions that a checkpoint of fairseq may name. None of them is looked up or called."""

from __future__ import annotations

from dataclasses import dataclass

STORAGES = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}
"""torch's names of storages, and safetensors' of their numbers."""

_NAMES = frozenset(
    {f"torch.{kind}" for kind in STORAGES}
    | {f"torch._utils.{name}" for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter")}
    | {f"torch.{name}" for name in ("Size", "device", "float64", "float32", "float16", "bfloat16", "int64", "int32")}
    | {"collections.OrderedDict", "collections.defaultdict", "argparse.Namespace", "typing.Any", "_codecs.encode"}
    | {f"{numpy}.multiarray.scalar" for numpy in ("numpy.core", "numpy._core")}
    | {"numpy.dtype", "numpy.ndarray"}
    | {f"pathlib.{name}" for name in ("Path", "PosixPath", "PurePosixPath")}
    | {
        f"{builtins}.{name}"
        for builtins in ("builtins", "__builtin__")
        for name in ("dict", "list", "tuple", "str", "int", "float", "bool", "set", "long", "unicode")
    }
)
_PACKAGES = ("fairseq.", "omegaconf.")
"""Meters of 2019, enumerations and OmegaConf's nodes: their state is read, or left alone."""


@dataclass(frozen=True, slots=True)
class Named:
    """A class or function by its full name; only the name."""

    name: str


def is_allowed(name: str) -> bool:
    """Whether a checkpoint may name this class or function."""
    return name in _NAMES or name.startswith(_PACKAGES)
