"""Tensors of a checkpoint into memory: the safetensors reader does it, one tensor at a time, onto the device."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby

import torch
from safetensors import SafetensorError, safe_open

from pipelines.errors import InputError, SurroundingsError
from pipelines.roberta.failures import is_out_of_memory
from pipelines.roberta.tensors import COPY_AGAIN, Tensor


def load_weights(
    tensors: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype | None
) -> dict[str, torch.Tensor]:
    """The values of ``tensors`` by the same names; without ``dtype`` as they lie in the file, to be read once and not
    kept. Raises InputError for a damaged file, SurroundingsError where they do not fit into the device's memory.
    """
    weights: dict[str, torch.Tensor] = {}
    by_file = sorted(tensors.items(), key=lambda item: str(item[1].file))
    for file, items in groupby(by_file, key=lambda item: item[1].file):
        try:
            with safe_open(file, framework="pt", device="cpu") as stored:
                for name, tensor in items:
                    mapped = stored.get_tensor(tensor.name)
                    # What is kept is a copy in any case: the file may change under its map.
                    weights[name] = mapped if dtype is None else mapped.to(device, dtype, copy=True)
        except (OSError, SafetensorError) as error:
            raise InputError(f"{file} cannot be loaded: {error}.", COPY_AGAIN) from error
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise SurroundingsError(
                f"{file} does not fit into the memory of {device}.", "Use a larger device, or fewer workers on it."
            ) from error
    return weights
