"""Which of an encoder's layers are read: N, N..M, N,N,… or N:WEIGHT,N:WEIGHT,… as people write them."""

from __future__ import annotations

import re

from pipelines.errors import UsageError

LAYERS_GRAMMAR = "N, N..M, N,N,…, N:WEIGHT,N:WEIGHT,… or all"
_NUMBER = re.compile(r"-?[0-9]{1,4}")
_WEIGHT = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,9})?")


def parse_layers(of: str, asked: str, grammar: str, *, layers: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Numbers of hidden states, from 0, and their weights, if any are given; of an encoder with so many ``layers``.

    ``asked`` is the option as it was given and ``grammar`` what it takes, for messages. Raises UsageError.
    """
    begin, dots, end = of.partition("..")
    if dots:
        first, last = (_layer(number, asked, grammar, layers) for number in (begin, end))
        if first > last:
            raise UsageError(f"{asked}: layers from {first} to {last} are none.", "Give the lower number first.")
        return tuple(range(first, last + 1)), ()
    items = [item.partition(":") for item in of.split(",")]
    numbers = tuple(_layer(number, asked, grammar, layers) for number, _, _ in items)
    if len(set(numbers)) < len(numbers):
        raise UsageError(f"{asked} names a layer twice.", "Name each once.")
    if not any(colon for _, colon, _ in items):
        return numbers, ()
    if not all(_WEIGHT.fullmatch(weight) for _, _, weight in items):
        raise UsageError(f"{asked}: not every layer has a weight.", "Write N:WEIGHT,N:WEIGHT,…, as -2:0.5,-1:1.")
    return numbers, tuple(float(weight) for _, _, weight in items)


def stored_layer(number: int, layers: int) -> int:
    """A layer's number in a spec: the last one is -1 in every spec, as it was when there was no other."""
    return -1 if number == layers else number


def _layer(number: str, asked: str, grammar: str, layers: int) -> int:
    if not _NUMBER.fullmatch(number):
        raise UsageError(f"{asked}: {number!r} is no layer.", f"Wanted {grammar}.")
    if not -layers - 1 <= int(number) <= layers:
        raise UsageError(
            f"{asked}: there is no layer {number}, the model has {layers}.",
            f"Wanted 0 (the embeddings) to {layers}, or -1 (the last) to {-layers - 1}.",
        )
    return int(number) % (layers + 1)
