"""``--embed [NAME=]POOL[@LAYERS]``: which vectors are asked for, by which name, of which layers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.errors import UsageError
from pipelines.opening.layers import LAYERS_GRAMMAR, parse_layers, stored_layer
from pipelines.roberta.sentence_transformer import read_sentence_model
from pipelines.spec import EmbeddingOptions, FeatureSpec, ModelRef, Pooling, Storage, embedding_feature

AUTO = "auto"
GRAMMAR = f"[NAME=]auto, or [NAME=]mean|cls|max[@LAYERS], LAYERS being {LAYERS_GRAMMAR}"
_ASKED = re.compile(r"(?:(?P<name>[^=@]*)=)?(?P<pooling>[^@]*)(?:@(?P<layers>.*))?", re.DOTALL)
_NAME = re.compile(r"[a-z][a-z0-9_]*")


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
    parsed = [one for text in dict.fromkeys(asked) for one in _parse(text, model, layers)]
    features = []
    for name, default_name, options in parsed:
        normalize = form.normalize or options.normalize
        _check(form, options.width(model.hidden_size), model)
        options = replace(options, dimensions=form.dimensions, normalize=normalize, storage=form.storage)
        features.append(embedding_feature(model, options, name=name or (default_name if len(parsed) > 1 else None)))
    return tuple(dict.fromkeys(features))


def check_form(form: VectorForm, *, embeddings: bool, tokens: str | None) -> None:
    """Whether the vectors that are asked for, ``embeddings`` or those of the option ``tokens``, can have such a form.

    Raises UsageError, naming all that is in the way at once.
    """
    of_documents = {"--dimensions": form.dimensions is not None, "--normalize": form.normalize}
    wrong = [] if embeddings else [option for option, given in of_documents.items() if given]
    out, stored = _listed(wrong), f"--vectors {form.storage}"
    if tokens is None:
        if not embeddings and form.storage is not Storage.FLOAT32:
            wrong.append(stored)
        if wrong:
            are, them = ("is", "it") if len(wrong) == 1 else ("are", "them")
            message = f"{_listed(wrong)} {are} about embeddings, of which none is asked for."
            raise UsageError(message, f"Add --embed, or leave {them} out.")
        return
    hint = f"Leave {out} out, or add --embed to have vectors of documents as well."
    if form.storage not in (Storage.FLOAT32, Storage.FLOAT16):
        wrong.append(stored)
        hint = f"Leave {out} out, and use --vectors float32 or float16." if out else "Use float32 or float16."
    if wrong:
        what = "that is" if len(wrong) == 1 else "these are"
        raise UsageError(f"{tokens} cannot be had with {_listed(wrong)}: {what} for one vector per document.", hint)


def _listed(options: Sequence[str]) -> str:
    *others, last = options or ("",)
    return f"{', '.join(others)} and {last}" if others else last


def sentence_limit(asked: Sequence[str], model: ModelRef) -> int | None:
    """The most tokens that a model of sentence-transformers was made for, where its own embedding is asked for."""
    if not any(_is_auto(text) for text in asked):
        return None
    return read_sentence_model(Path(model.path), model.source, model.hidden_size).max_tokens


def _is_auto(text: str) -> bool:
    found = _ASKED.fullmatch(text)
    return found is not None and found["pooling"] == AUTO


def _parse(text: str, model: ModelRef, layers: int) -> Iterator[tuple[str | None, str, EmbeddingOptions]]:
    """The given name, the name where there are several, and what is asked for."""
    found = _ASKED.fullmatch(text)
    if found is None or found["pooling"] not in (*Pooling, *([] if found["layers"] else [AUTO])):
        raise UsageError(f"--embed {text} is no embedding.", f"Wanted {GRAMMAR}.")
    name, of = found["name"], found["layers"]
    if name is not None and not _NAME.fullmatch(name):
        raise UsageError(
            f"--embed {text}: {name!r} is no name for a column.",
            "Wanted: a letter, then letters, digits and underscores, all lower case.",
        )
    if _is_auto(text):
        said = read_sentence_model(Path(model.path), model.source, model.hidden_size)
        yield name, AUTO, EmbeddingOptions(Pooling(said.pooling), normalize=said.normalize, dense=said.dense)
        return
    pooling = Pooling(found["pooling"])
    if of is None:
        yield name, str(pooling), EmbeddingOptions(pooling)
    elif of == "all":
        for number in range(layers + 1):
            stem = name or str(pooling)
            yield f"{stem}_{number}", "", EmbeddingOptions(pooling, (stored_layer(number, layers),))
    else:
        numbers, weights = parse_layers(of, f"--embed {text}", GRAMMAR, layers=layers)
        default = f"{pooling}_{numbers[0]}" + (f"_{numbers[-1]}" if len(numbers) > 1 else "")
        if name is None and (weights or list(numbers) != list(range(numbers[0], numbers[-1] + 1))):
            raise UsageError(f"--embed {text} has no name.", f"Write --embed NAME={text}.")
        yield name, default, EmbeddingOptions(pooling, tuple(stored_layer(n, layers) for n in numbers), weights)


def _check(form: VectorForm, width: int, model: ModelRef) -> None:
    if form.dimensions is not None and form.dimensions > width:
        raise UsageError(
            f"--dimensions {form.dimensions} is more than the {width} of {model.source}.", f"Use at most {width}."
        )
    kept = form.dimensions or width
    if form.storage is Storage.BINARY and kept % 8:
        raise UsageError(
            f"--vectors binary stores 8 numbers in a byte, the vectors have {kept}.",
            f"Add --dimensions {kept // 8 * 8}." if kept > 8 else "Use another storage.",
        )
