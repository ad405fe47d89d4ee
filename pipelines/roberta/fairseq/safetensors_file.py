"""Tensors from wherever they lie into one safetensors file, copied in pieces: no model is ever in memory.

Format: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import orjson

from pipelines.errors import InputError
from pipelines.roberta.fairseq.pickled import DAMAGED
from pipelines.roberta.tensors import CHUNK_BYTES, WIDTHS, Tensor

NOWHERE = Path("zeros")
"""The file of a tensor that is all zeros and lies in no file."""
_ALIGNMENT = 8


def zeros(name: str, dtype: str, shape: tuple[int, int]) -> Tensor:
    """A tensor of zeros. *Shape:* as given."""
    return Tensor(name, dtype, shape, NOWHERE, 0, shape[0] * shape[1] * WIDTHS[dtype])


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors under the names that they are given by. Raises InputError where a file ends too early."""
    order = sorted(tensors, key=lambda name: (-WIDTHS[tensors[name].dtype], name))  # so that all are aligned
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in order:
        tensor = tensors[name]
        begin, end = end, end + tensor.end - tensor.begin
        header[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [begin, end]}
    text = orjson.dumps(header)
    text += b" " * (-len(text) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            for chunk in chunks(tensors[name]):
                file.write(chunk)


def same_bytes(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors are the same to the bit."""
    if (first.dtype, first.shape) != (second.dtype, second.shape):
        return False
    if (first.file, first.begin) == (second.file, second.begin):
        return True
    return all(one == other for one, other in zip(chunks(first), chunks(second), strict=True))


def chunks(tensor: Tensor) -> Iterator[bytes]:
    """The bytes of a tensor, a piece at a time. Raises InputError where its file ends too early."""
    left = tensor.end - tensor.begin
    if tensor.file == NOWHERE:
        yield bytes(left)
        return
    with tensor.file.open("rb") as file:
        file.seek(tensor.begin)
        while left:
            chunk = file.read(min(left, CHUNK_BYTES))
            if not chunk:
                raise InputError(f"{tensor.file} ends within tensor {tensor.name[:80]!r}.", DAMAGED)
            left -= len(chunk)
            yield chunk
