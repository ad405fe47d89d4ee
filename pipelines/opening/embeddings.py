"""``--embed [NAME=]POOL[@LAYERS]``: which vectors are asked for, by which name, of which layers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pipelines.errors import UsageError
from pipelines.spec import EmbeddingOptions, FeatureSpec, ModelRef, Pooling, Storage, embedding_feature

GRAMMAR = "[NAME=]mean|cls|max[@LAYERS], LAYERS being N, N..M, N,N,…, N:WEIGHT,N:WEIGHT,… or all"
_ASKED = re.compile(r"(?:(?P<name>[^=@]*)=)?(?P<pooling>[^@]*)(?:@(?P<layers>.*))?", re.DOTALL)
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_NUMBER = re.compile(r"-?[0-9]{1,4}")
_WEIGHT = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,9})?")


@dataclass(frozen=True, slots=True)
class VectorForm:
    """What holds for all embeddings of a run: how many numbers of each, whether normalised, and how stored."""

    dimensions: int | None = None
    normalize: bool = False
    storage: Storage = Storage.FLOAT32


def embedding_features(
    asked: Sequence[str], model: ModelRef, form: VectorForm, *, layers: int
) -> tuple[FeatureSpec, ...]:
    """The embeddings of a run, for an encoder of so many ``layers``. Raises UsageError for what nobody can compute."""
    _check(form, model)
    parsed = [one for text in dict.fromkeys(asked) for one in _parse(text, layers)]
    features = []
    for name, default_name, options in parsed:
        options = replace(options, dimensions=form.dimensions, normalize=form.normalize, storage=form.storage)
        features.append(embedding_feature(model, options, name=name or (default_name if len(parsed) > 1 else None)))
    return tuple(dict.fromkeys(features))


def _parse(text: str, layers: int) -> Iterator[tuple[str | None, str, EmbeddingOptions]]:
    """The given name, the name where there are several, and what is asked for."""
    found = _ASKED.fullmatch(text)
    if found is None or found["pooling"] not in list(Pooling):
        raise UsageError(f"--embed {text} is no embedding.", f"Wanted {GRAMMAR}.")
    name, pooling, of = found["name"], Pooling(found["pooling"]), found["layers"]
    if name is not None and not _NAME.fullmatch(name):
        raise UsageError(
            f"--embed {text}: {name!r} is no name for a column.",
            "Wanted: a letter, then letters, digits and underscores, all lower case.",
        )
    if of is None:
        yield name, str(pooling), EmbeddingOptions(pooling)
    elif of == "all":
        for number in range(layers + 1):
            stem = name or str(pooling)
            yield f"{stem}_{number}", "", EmbeddingOptions(pooling, (_stored(number, layers),))
    else:
        numbers, weights = _layers(of, text, layers)
        default = f"{pooling}_{numbers[0]}" + (f"_{numbers[-1]}" if len(numbers) > 1 else "")
        if name is None and (weights or list(numbers) != list(range(numbers[0], numbers[-1] + 1))):
            raise UsageError(f"--embed {text} has no name.", f"Write --embed NAME={text}.")
        yield name, default, EmbeddingOptions(pooling, tuple(_stored(n, layers) for n in numbers), weights)


def _layers(of: str, text: str, layers: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Numbers of hidden states, from 0, and their weights, if any are given."""
    begin, dots, end = of.partition("..")
    if dots:
        first, last = _layer(begin, text, layers), _layer(end, text, layers)
        if first > last:
            raise UsageError(f"--embed {text}: layers from {first} to {last} are none.", "Give the lower number first.")
        return tuple(range(first, last + 1)), ()
    items = [item.partition(":") for item in of.split(",")]
    numbers = tuple(_layer(number, text, layers) for number, _, _ in items)
    if len(set(numbers)) < len(numbers):
        raise UsageError(f"--embed {text} names a layer twice.", "Name each once.")
    if not any(colon for _, colon, _ in items):
        return numbers, ()
    if not all(_WEIGHT.fullmatch(weight) for _, _, weight in items):
        raise UsageError(f"--embed {text}: not every layer has a weight.", "Write N:WEIGHT,N:WEIGHT,…, as -2:0.5,-1:1.")
    return numbers, tuple(float(weight) for _, _, weight in items)


def _layer(number: str, text: str, layers: int) -> int:
    if not _NUMBER.fullmatch(number):
        raise UsageError(f"--embed {text}: {number!r} is no layer.", f"Wanted {GRAMMAR}.")
    if not -layers - 1 <= int(number) <= layers:
        raise UsageError(
            f"--embed {text}: there is no layer {number}, the model has {layers}.",
            f"Wanted 0 (the embeddings) to {layers}, or -1 (the last) to {-layers - 1}.",
        )
    return int(number) % (layers + 1)


def _stored(number: int, layers: int) -> int:
    """The last layer is -1 in every spec, as it was when there was no other."""
    return -1 if number == layers else number


def _check(form: VectorForm, model: ModelRef) -> None:
    if form.dimensions is not None and form.dimensions > model.hidden_size:
        raise UsageError(
            f"--dimensions {form.dimensions} is more than the {model.hidden_size} of {model.source}.",
            f"Use at most {model.hidden_size}.",
        )
    kept = form.dimensions or model.hidden_size
    if form.storage is Storage.BINARY and kept % 8:
        raise UsageError(
            f"--vectors binary stores 8 numbers in a byte, the vectors have {kept}.",
            f"Add --dimensions {kept // 8 * 8}." if kept > 8 else "Use another storage.",
        )
