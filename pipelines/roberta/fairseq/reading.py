"""The model of a checkpoint of fairseq: its tensors by transformers' names, and the config that belongs to them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.errors import InputError, UsageError
from pipelines.roberta.config import parse_config
from pipelines.roberta.fairseq import keys
from pipelines.roberta.fairseq.architecture import config_document, model_arguments
from pipelines.roberta.fairseq.described import PickledTensor
from pipelines.roberta.fairseq.pickled import DAMAGED
from pipelines.roberta.fairseq.safetensors_file import same_bytes, zeros
from pipelines.roberta.fairseq.torch_file import TorchFile
from pipelines.roberta.heads import heads_of
from pipelines.roberta.layout import account
from pipelines.roberta.tensors import Tensor

_SHARDS = ("shard_metadata", "fsdp_metadata")


@dataclass(frozen=True, slots=True)
class Model:
    """Tensors by transformers' names, ``config.json`` (but for labels), the classification head that was taken with the
    number of its outputs, and the heads that were left out."""

    tensors: Mapping[str, Tensor]
    config: dict[str, Any]
    head: str | None
    outputs: int
    left_out: tuple[str, ...]


def read_model(file: TorchFile, asked: str | None) -> Model:
    """The model of a file, with the classification head ``asked`` for, or the only one.

    Raises InputError for what transformers' RoBERTa has no place for, UsageError where ``asked`` is not there, or is
    None and there are several.
    """
    place = file.path.name
    root = file.root
    if not isinstance(root, Mapping) or not isinstance(root.get("model"), Mapping):
        raise InputError(f"{place} holds no model.", "Wanted a checkpoint as fairseq saves it.")
    if any(root.get(key) for key in _SHARDS):
        raise InputError(f"{place} is one shard of several.", "Consolidate it in fairseq first.")
    arguments = model_arguments(root, place)
    stored = keys.today(_tensors(file, root["model"], place), place)
    layers = keys.layer_count(stored, place)
    head, others = _chosen(keys.head_names(stored), asked, place)
    table = keys.names(layers, head)
    aside = tuple(f"{keys.HEADS}{other}." for other in others)
    left = {name: tensor for name, tensor in stored.items() if not name.startswith(aside)}
    if unknown := sorted(left.keys() - table.keys()):
        raise InputError(
            f"{place} has {len(unknown)} tensors that no RoBERTa has, {unknown[0][:80]!r} the first.",
            "Only plain RoBERTa models can be imported.",
        )
    tensors = {table[name]: dataclasses.replace(tensor, name=name) for name, tensor in left.items()}
    config = config_document(arguments, tensors, layers, place)
    tensors[keys.TOKEN_TYPES] = zeros(keys.TOKEN_TYPES, tensors[keys.WORDS].dtype, (1, config["hidden_size"]))
    _check(file, tensors, config, place)
    config["tie_word_embeddings"] = _tie(tensors)
    config["architectures"] = ["RobertaForMaskedLM" if "lm_head.bias" in tensors else "RobertaModel"]
    if head is not None:
        if arguments.get("pooler_activation_fn", "tanh") != "tanh":
            raise InputError(f"{place} has a classification head with another activation than tanh.")
        config["architectures"] = ["RobertaForSequenceClassification"]
        config["fairseq_head"] = head
    outputs = tensors["classifier.out_proj.bias"].shape[0] if head is not None else 0
    return Model(tensors, config, head, outputs, others)


def _tensors(file: TorchFile, state: Mapping[Any, Any], place: str) -> dict[str, Tensor]:
    found = {}
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, PickledTensor):
            shown = repr(name[:80]) if isinstance(name, str) else "a name"
            raise InputError(f"{place} has {shown} in its model, which is no tensor.", "Is it the right file?")
        found[name] = file.tensor(name, value)
    file.check(value.storage.key for value in state.values())
    return found


def _check(file: TorchFile, tensors: Mapping[str, Tensor], config: Mapping[str, Any], place: str) -> None:
    """Names, shapes and types of all tensors, and that they are no more than the file holds."""
    parsed = parse_config(config, place)
    named = {name: dataclasses.replace(tensor, name=name) for name, tensor in tensors.items()}
    account(named, parsed, place)
    if config["hidden_act"] != "gelu" and "lm_head.bias" in tensors:
        raise InputError(f"{place} has a language model head with activation {config['hidden_act']}, wanted gelu.")
    heads_of(named, parsed, place)
    size = sum(tensor.end - tensor.begin for tensor in tensors.values())
    if size > 2 * file.path.stat().st_size + math.prod(tensors[keys.TOKEN_TYPES].shape) * 8:
        raise InputError(f"{place} has tensors of {size} bytes that lie over one another.", DAMAGED)


def _tie(tensors: dict[str, Tensor]) -> bool:
    """Whether the language model head's last product is by the word embeddings; a copy of them is taken out then."""
    decoder = tensors.get(keys.DECODER)
    if decoder is None or same_bytes(decoder, tensors[keys.WORDS]):
        tensors.pop(keys.DECODER, None)
        return True
    tensors[keys.DECODER_BIAS] = tensors["lm_head.bias"]  # transformers ties the two only where it ties the weights
    return False


def _chosen(heads: list[str], asked: str | None, place: str) -> tuple[str | None, tuple[str, ...]]:
    """The head to take, and those to leave out. transformers has room for one."""
    shown = ", ".join(repr(name[:40]) for name in heads[:20])
    if asked is not None and asked not in heads:
        raise UsageError(
            f"{place} has no classification head {asked!r}, it has {shown or 'none'}.", "Name one of them by --head."
        )
    if asked is None and len(heads) > 1:
        raise UsageError(
            f"{place} has the classification heads {shown}, and a folder of transformers has room for one.",
            "Import it once for each, with --head NAME and a folder of its own.",
        )
    head = asked if asked is not None else next(iter(heads), None)
    if head is not None and not head.isprintable():
        raise InputError(
            f"{place} has a classification head of the name {head[:40]!r}.", "Wanted one that can be read."
        )
    return head, tuple(name for name in heads if name != head)
