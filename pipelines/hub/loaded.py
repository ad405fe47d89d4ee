"""A checkpoint in memory: what every function of the interface reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from pipelines.errors import InputError, SurroundingsError
from pipelines.hub.arguments import checked_text
from pipelines.roberta.checkpoint import find
from pipelines.roberta.config import EncoderConfig
from pipelines.roberta.encoder import Encoder
from pipelines.roberta.names import resolve
from pipelines.roberta.native import refuse_dtype
from pipelines.roberta.pieces import Pieces
from pipelines.roberta.tokenizer import Tokenizer
from pipelines.spec import Dtype, ModelRef


@dataclass(frozen=True, slots=True)
class Loaded:
    """A pinned checkpoint with its tokenizer and encoder."""

    model: ModelRef
    tokenizer: Tokenizer
    pieces: Pieces
    encoder: Encoder

    @property
    def config(self) -> EncoderConfig:
        """The encoder's sizes."""
        return self.encoder.config

    @property
    def device(self) -> torch.device:
        """Where the encoder is."""
        return self.encoder.device

    @property
    def layers(self) -> int:
        """How many layers the encoder has."""
        return self.config.num_hidden_layers


def load(source: str, device: str, dtype: str, models: str | Path) -> Loaded:
    """Find and load a checkpoint. Raises InputError and SurroundingsError, as :meth:`Roberta.load` says."""
    checked_text(source, "The model")
    place, numbers = _device(checked_text(device, "The device")), _dtype(dtype)
    refuse_dtype(numbers, place)
    model = find(resolve(source, Path(checked_text(str(models), "The folder of models")).expanduser()))
    encoder = Encoder.load(model, place, numbers)
    tokenizer = Tokenizer(Path(model.path), model.model_type, encoder.config.vocab_size)
    return Loaded(model, tokenizer, Pieces(tokenizer), encoder)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"There is no device {name!r}.", "Wanted cpu, cuda, or cuda:0, cuda:1 and so on.") from error
    if device.type == "cuda" and not (device.index or 0) < torch.cuda.device_count():
        raise SurroundingsError(f"The device {name} cannot be used.", "Take cpu, or check the driver.")
    return device


def _dtype(name: str) -> Dtype:
    wanted = [str(dtype) for dtype in Dtype if dtype is not Dtype.AUTO]
    if name not in wanted:
        raise InputError(f"There is no number format {name!r}.", f"Wanted one of {', '.join(wanted)}.")
    return Dtype(name)
