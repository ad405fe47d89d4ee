"""What callers give to the functions of the interface, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from pipelines.errors import InputError
from pipelines.roberta.config import MAX_SIZE


class ArgumentError(InputError, ValueError):
    """An argument that no call can take; a ValueError as well, as Python's own functions raise for such."""


class TokensError(ArgumentError):
    """Ids that the model cannot take: too many, none, or such as it does not have."""


def checked_text(value: object, what: str) -> str:
    """A text. Raises ArgumentError for anything else, naming ``what`` it was to be, as do all of these."""
    if isinstance(value, str):
        return value
    raise ArgumentError(f"{what} is {_found(value)}, wanted a text.", "Give one str.")


def checked_texts(values: object, what: str) -> list[str]:
    """Texts, of any iterable but a text itself, whose letters nobody means."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ArgumentError(f"{what} are {_found(values)}, wanted several texts.", "Give a list of str.")
    return [checked_text(value, f"Number {number} of {what}") for number, value in enumerate(values, start=1)]


def checked_count(value: object, what: str) -> int:
    """A whole number from 1 on."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool) and 1 <= value <= MAX_SIZE:
        return int(value)
    raise ArgumentError(f"{what} is {_found(value)}, wanted at least 1.", "Give a whole number.")


def checked_tokens(value: object, what: str = "Tokens") -> torch.Tensor:
    """A tensor of whole numbers. Raises TokensError."""
    if not isinstance(value, torch.Tensor):
        raise TokensError(
            f"{what}: found {_found(value)}, wanted a tensor of ids.",
            "encode() makes one of a text, torch.tensor() of a list of ids, collate_tokens() of several rows.",
        )
    if value.is_floating_point() or value.is_complex() or value.dtype is torch.bool:
        raise TokensError(f"{what}: found {_found(value)}, wanted whole numbers.", "encode() makes int64.")
    return value


def _found(value: object) -> str:
    """A value in a few words, on one line."""
    if isinstance(value, torch.Tensor):
        return f"a tensor of {value.dtype} and shape {list(value.shape)}"
    if value is None or isinstance(value, int | float | str):
        return repr(value)[:60]
    return f"of type {type(value).__name__}"
