"""The dense layers of a sentence-transformers folder: found, pinned, loaded and applied. No torch here."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file

from pipelines.errors import InputError, RunError
from pipelines.roberta.config import read_json
from pipelines.spec.dense import Activation, Dense

Vectors = npt.NDArray[np.float32]
FILE = "model.safetensors"
_WEIGHT, _BIAS = "linear.weight", "linear.bias"


def find_dense(model: Path, folder: str, inputs: int) -> Dense:
    """Pin the dense layer in a folder of a model's, behind vectors of so many numbers.

    Raises InputError where it is none, or one that cannot be applied.
    """
    place = model / folder
    said = str(read_json(place / "config.json").get("activation_function", "torch.nn.modules.activation.Tanh"))
    try:
        activation = Activation(said.rpartition(".")[2])
    except ValueError:
        raise InputError(f"{place} has activation_function {said!r}, wanted one of {', '.join(Activation)}.") from None
    if not (place / FILE).exists():
        raise InputError(f"{place} has no {FILE}.", "Save the model again with a current sentence-transformers.")
    weight, bias = _load(place / FILE)
    if weight.shape[1] != inputs:
        raise InputError(f"{place} takes vectors of {weight.shape[1]} numbers, those before it have {inputs}.")
    return Dense(folder, _digest(weight, bias), weight.shape[0], activation)


def load_dense(model: Path, dense: Dense) -> tuple[Vectors, Vectors]:
    """Weight and bias of a pinned layer, *shape* ``[outputs, inputs]`` and ``[outputs]``.

    Raises InputError where it cannot be read, RunError where it is another one than was pinned.
    """
    weight, bias = _load(model / dense.folder / FILE)
    if _digest(weight, bias) != dense.digest:
        raise RunError(
            f"{model / dense.folder} does not hold the layer that the run was opened with.",
            "Put the old one back, or start a new run in another folder.",
        )
    return weight, bias


def activated(values: Vectors, activation: Activation) -> Vectors:
    """The activation of every number. *Shape:* any."""
    match activation:
        case Activation.IDENTITY:
            return values
        case Activation.TANH:
            bounded: Vectors = np.tanh(values)
            return bounded
        case Activation.RELU:
            cut: Vectors = np.maximum(values, np.float32(0))
            return cut
        case Activation.SIGMOID:
            return (1 / (1 + np.exp(-values))).astype(np.float32)
        case Activation.GELU:
            return _gelu(values)


def _gelu(values: Vectors) -> Vectors:
    from math import erf, sqrt  # numpy has no error function

    areas = np.vectorize(erf, otypes=[float])(values / sqrt(2))
    bent: Vectors = (values * (1 + areas) / 2).astype(np.float32)
    return bent


def _load(file: Path) -> tuple[Vectors, Vectors]:
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise InputError(f"{file} cannot be loaded: {error}.", "Copy the model again.") from error
    weight = tensors.get(_WEIGHT)
    if weight is None or weight.ndim != 2 or not np.issubdtype(weight.dtype, np.floating):
        raise InputError(f"{file} has no tensor {_WEIGHT!r} of floats.", "Is it a dense layer?")
    bias = tensors.get(_BIAS, np.zeros(len(weight), np.float32))
    if bias.shape != weight.shape[:1]:
        raise InputError(f"{file} has a bias of shape {list(bias.shape)}, wanted [{len(weight)}].")
    return weight.astype(np.float32), bias.astype(np.float32)


def _digest(weight: Vectors, bias: Vectors) -> str:
    digest = hashlib.sha256()
    for tensor in (weight, bias):
        digest.update(str(tensor.shape).encode())
        digest.update(np.ascontiguousarray(tensor).tobytes())
    return digest.hexdigest()
