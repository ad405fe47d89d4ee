"""A checkpoint of fairseq as a folder that transformers and penstock load; its tensors stay the same to the bit."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from pipelines.errors import InputError, UsageError
from pipelines.roberta import checkpoint
from pipelines.roberta.fairseq.archive import open_source
from pipelines.roberta.fairseq.dictionary import MASK, SPECIALS, label_names, symbols
from pipelines.roberta.fairseq.gpt2 import find_bpe, read_bpe
from pipelines.roberta.fairseq.new_folder import new_folder
from pipelines.roberta.fairseq.reading import read_model
from pipelines.roberta.fairseq.safetensors_file import write_safetensors
from pipelines.roberta.fairseq.torch_file import read_torch_file
from pipelines.roberta.fairseq.vocabulary import vocabulary, write_tokenizer
from pipelines.roberta.tensors import SINGLE_FILE
from pipelines.spec import ModelRef

DICTIONARY = "dict.txt"
MNLI = ("contradiction", "neutral", "entailment")
"""The classes of the head that fairseq's own MNLI model has, in their order; its archive does not list them."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person says about a checkpoint where its files do not: the BPE's merges, which classification head, the
    label dictionary, and ``dict.txt``."""

    bpe: Path | None = None
    head: str | None = None
    labels: Path | None = None
    dictionary: Path | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a checkpoint: the pinned folder, the classification head that was taken, and those left out."""

    model: ModelRef
    head: str | None
    left_out: tuple[str, ...]


def import_fairseq(path: Path, out: Path, asked: Asked | None = None) -> Imported:
    """Write the checkpoint in ``path`` (model.pt, its folder or archive) into the new folder ``out``.

    Raises InputError for what is damaged, not safe or cannot be had in transformers, naming it; ForeignFolderError
    where ``out`` is not empty. Nothing is left then.
    """
    asked = asked or Asked()
    with new_folder(out) as made:
        unpacked = made.parent / "unpacked"
        unpacked.mkdir()
        source = open_source(path.expanduser(), unpacked)
        model = read_model(read_torch_file(source), asked.head)
        config = model.config
        dictionary = _dictionary(source, asked)
        listed = symbols(dictionary)
        rows, wanted = config["vocab_size"], len(listed) + len(SPECIALS) + 1
        if rows != wanted:
            raise InputError(
                f"{source.name} has embeddings of {rows} tokens, {dictionary} gives {wanted}: "
                f"{len(listed)} symbols, {len(SPECIALS)} before them and {MASK} behind.",
                "Name the dict.txt that it was trained with by --dict.",
            )
        if model.head is not None:
            config |= _labels(model.head, model.outputs, source, asked.labels)
        elif asked.labels is not None and label_names(asked.labels):
            raise UsageError(f"--labels is given, but {source.name} has no classification head.", "Leave it out.")
        bpe = read_bpe(find_bpe(asked.bpe, (dictionary.parent, source.parent)))
        tokens = vocabulary(listed, bpe, str(dictionary))
        write_safetensors(made / SINGLE_FILE, model.tensors)
        (made / checkpoint.CONFIG_FILE).write_bytes(orjson.dumps(config, option=orjson.OPT_INDENT_2))
        write_tokenizer(made, tokens, bpe, config["max_position_embeddings"] - 2)
        shutil.copyfile(dictionary, made / DICTIONARY)  # for the way back: its counts are nowhere else
        pinned = checkpoint.find(str(made))
    place = str(out.absolute())
    return Imported(dataclasses.replace(pinned, source=place, path=place), model.head, model.left_out)


def _dictionary(source: Path, asked: Asked) -> Path:
    if asked.dictionary is not None:
        places = [asked.dictionary, asked.dictionary / DICTIONARY, asked.dictionary / "input0" / DICTIONARY]
    else:
        places = [source.parent / DICTIONARY, source.parent / "input0" / DICTIONARY]
        if asked.labels is not None:
            places += [asked.labels / "input0" / DICTIONARY, asked.labels.parent / "input0" / DICTIONARY]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        where = asked.dictionary or f"beside {source.name}"
        raise InputError(
            f"There is no {DICTIONARY} {where}.", "Name it by --dict: the one of the data it was trained on."
        )
    return found


def _labels(head: str, outputs: int, source: Path, asked: Path | None) -> dict[str, Any]:
    """``id2label`` and ``label2id`` of a head; names that nobody tells are ``LABEL_0``, …"""
    beside = source.parent / "label" / DICTIONARY
    if asked is not None:
        names = label_names(asked)
    elif beside.is_file() and outputs > 1:
        names = label_names(beside)
    else:
        names = MNLI if head == "mnli" and outputs == len(MNLI) else tuple(f"LABEL_{i}" for i in range(outputs))
    if len(names) != outputs:
        raise InputError(
            f"{asked or beside} has {len(names)} labels, head {head!r} has {outputs} outputs.",
            "Name the label dictionary of this head by --labels."
            if outputs > 1
            else "One output is a score: leave it out.",
        )
    return {"id2label": {str(i): name for i, name in enumerate(names)}, "label2id": {n: i for i, n in enumerate(names)}}
