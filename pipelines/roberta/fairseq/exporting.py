"""A checkpoint folder as fairseq's files: the way back, to the same tensors."""

from __future__ import annotations

import shutil
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from pipelines.errors import InputError
from pipelines.roberta.config import EncoderConfig, parse_config, read_json
from pipelines.roberta.fairseq.architecture import ACTIVATIONS, ATTENTION_HEADS, SPECIAL_ROWS
from pipelines.roberta.fairseq.dictionary import FILLER, MASK, symbols
from pipelines.roberta.fairseq.gpt2 import IDS_NAME, bpe_of
from pipelines.roberta.fairseq.importing import DICTIONARY
from pipelines.roberta.fairseq.keys import names
from pipelines.roberta.fairseq.new_folder import new_folder
from pipelines.roberta.fairseq.vocabulary import merges_text, symbols_of
from pipelines.roberta.heads import Head, Kind, heads_of, in_words
from pipelines.roberta.layout import plain_name
from pipelines.roberta.tensors import Tensor, stored_tensors
from pipelines.roberta.tokenizer_files import tokenizer_document
from pipelines.spec import ModelRef

if TYPE_CHECKING:
    import torch

USUAL_HEAD = "sentence_classification_head"
"""What fairseq calls a head that nobody has named."""
_TYPES, _POSITIONS = "embeddings.token_type_embeddings.weight", "embeddings.position_embeddings.weight"
_TASK = {
    "task": "masked_lm",
    "criterion": "masked_lm",
    "data": "",
    "bpe": "gpt2",
    "seed": 1,
    "sample_break_mode": "complete",
    "mask_whole_words": False,
    "freq_weighted_replacement": False,
    "mask_prob": 0.15,
    "leave_unmasked_prob": 0.1,
    "random_token_prob": 0.1,
    "shorten_method": "none",
    "shorten_data_split_list": "",
}
"""A task that needs dict.txt alone, and gives every head to ``from_pretrained``."""
_HISTORY = {
    "optimizer_history": [
        {
            "criterion_name": "MaskedLmLoss",
            "optimizer_name": "FairseqAdam",
            "lr_scheduler_state": {"best": None},
            "num_updates": 0,
        }
    ],
    "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}},
}
"""Without one, fairseq takes a file for one of before 2018."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: the folder, the name of the classification head, and what a person should know."""

    folder: Path
    head: str | None
    notes: tuple[str, ...]


def export_fairseq(model: ModelRef, out: Path) -> Exported:
    """Write ``model.pt``, ``dict.txt``, ``vocab.bpe``, ``encoder.json`` and ``label/dict.txt`` into a new folder.

    Raises InputError for what fairseq's RoBERTa cannot have, naming it, ForeignFolderError where ``out`` is not empty.
    """
    import torch

    folder = Path(model.path)
    document = read_json(folder / "config.json")
    config = parse_config(document, model.path)
    stored = {plain_name(name): tensor for name, tensor in stored_tensors(folder).items()}
    heads = {head.kind: head for head in heads_of(stored, config, model.path)}
    _refuse(model, config, heads)
    notes: list[str] = []
    head = _head_name(document) if heads.keys() & {Kind.SEQUENCE, Kind.CHOICES} else None
    state = _state(stored, config, heads, head, notes)
    with new_folder(out) as made:
        _write_dictionary(folder, made, config, model)
        labels = model.labels if head is not None else ()
        if labels and _can_be_listed(labels):
            (made / "label").mkdir()
            (made / "label" / DICTIONARY).write_text("".join(f"{name} 0\n" for name in labels), encoding="utf-8")
        elif labels:
            notes.append("its labels cannot be written as a dictionary and are left out")
        torch.save({"args": _arguments(document, config, state), "model": state, **_HISTORY}, made / "model.pt")
    return Exported(out.absolute(), head, tuple(notes))


def _refuse(model: ModelRef, config: EncoderConfig, heads: Mapping[Kind, Head]) -> None:
    if config.model_type != "roberta":
        raise InputError(f"{model.source} is of type {config.model_type}, whose dictionary is not RoBERTa's.")
    for name, found, wanted in (
        ("layer_norm_eps", config.layer_norm_eps, 1e-5),
        ("pad_token_id", config.pad_token_id, 1),
    ):
        if found != wanted:
            raise InputError(f"{model.source} has {name} {found}, in fairseq it is always {wanted}.")
    if config.hidden_act not in ACTIVATIONS.values():
        raise InputError(f"{model.source} has the activation {config.hidden_act}, which fairseq does not have.")
    if config.hidden_act != "gelu" and Kind.LANGUAGE_MODEL in heads:  # always gelu here, the encoder's own there
        raise InputError(f"{model.source} has a language model head and activation {config.hidden_act}, wanted gelu.")
    for kind in (Kind.TOKENS, Kind.ANSWERS):
        if kind in heads:
            raise InputError(
                f"{model.source} is {in_words(tuple(heads.values()))}; fairseq's RoBERTa has no {kind} head."
            )


def _state(
    stored: Mapping[str, Tensor], config: EncoderConfig, heads: Mapping[Kind, Head], head: str | None, notes: list[str]
) -> dict[str, torch.Tensor]:
    """The tensors under fairseq's names, in the types that they are stored in."""
    from safetensors import safe_open

    values: dict[str, torch.Tensor] = {}
    for file in sorted({tensor.file for tensor in stored.values()}):
        with safe_open(file, framework="pt") as opened:
            values |= {n: opened.get_tensor(tensor.name) for n, tensor in stored.items() if tensor.file == file}
    if values[_TYPES][0].any():
        notes.append("its token types are not zero; fairseq has none: they are added to the positions, to a rounding")
        values[_POSITIONS] = (values[_POSITIONS].float() + values[_TYPES][0].float()).to(values[_POSITIONS].dtype)
    if Kind.LANGUAGE_MODEL in heads:
        values.setdefault("lm_head.decoder.weight", values["embeddings.word_embeddings.weight"])
        values["lm_head.bias"] = values.get("lm_head.decoder.bias", values["lm_head.bias"])
    else:
        notes.append("it has no language model head, which fairseq wants to load: give it strict=False")
    if Kind.CHOICES in heads:
        ours = {"pooler.dense": "classifier.dense", "classifier": "classifier.out_proj"}
        values |= {
            f"{to}.{end}": values.pop(f"{name}.{end}") for name, to in ours.items() for end in ("weight", "bias")
        }
    elif Kind.POOLER in heads:
        notes.append("its pooler, which fairseq's RoBERTa does not have, is left out")
    table = names(config.num_hidden_layers, head)
    return {ours: values[plain_name(theirs)] for ours, theirs in table.items() if plain_name(theirs) in values}


def _arguments(document: Mapping[str, Any], config: EncoderConfig, state: Mapping[str, torch.Tensor]) -> Namespace:
    """What fairseq builds the model with."""
    sizes = (config.num_hidden_layers, config.hidden_size, config.num_attention_heads)
    decoder, words = state.get("encoder.lm_head.weight"), state["encoder.sentence_encoder.embed_tokens.weight"]
    positions = config.max_position_embeddings - SPECIAL_ROWS
    return Namespace(
        **_TASK,
        arch="roberta_large" if sizes == (24, 1024, ATTENTION_HEADS["roberta_large"]) else "roberta_base",
        encoder_layers=config.num_hidden_layers,
        encoder_embed_dim=config.hidden_size,
        encoder_ffn_embed_dim=config.intermediate_size,
        encoder_attention_heads=config.num_attention_heads,
        activation_fn=next(ours for ours, theirs in ACTIVATIONS.items() if theirs == config.hidden_act),
        pooler_activation_fn="tanh",
        dropout=document.get("hidden_dropout_prob", 0.1),
        attention_dropout=document.get("attention_probs_dropout_prob", 0.1),
        activation_dropout=0.0,
        pooler_dropout=document.get("classifier_dropout") or 0.0,
        max_positions=positions,
        tokens_per_sample=positions,
        encoder_normalize_before=False,
        layernorm_embedding=True,
        untie_weights_roberta=decoder is not None and decoder is not words,
    )


def _write_dictionary(folder: Path, made: Path, config: EncoderConfig, model: ModelRef) -> None:
    document = tokenizer_document(folder, config.model_type)
    found = document["model"]
    if found.get("type") != "BPE" or (document.get("pre_tokenizer") or {}).get("type") != "ByteLevel":
        raise InputError(f"{model.source} has another tokenizer than the byte-level BPE of RoBERTa.")
    vocab = found["vocab"] | {token["content"]: token["id"] for token in document.get("added_tokens") or []}
    if len(vocab) != config.vocab_size:
        raise InputError(
            f"{model.source} has embeddings of {config.vocab_size} tokens and a tokenizer of {len(vocab)}.",
            f"fairseq wants one for each, {MASK} the last.",
        )
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in found["merges"]]
    bpe = bpe_of((first, second) for first, second in pairs)
    listed = symbols_of(vocab, bpe, model.source)
    kept = folder / DICTIONARY
    if kept.is_file() and symbols(kept) == listed:
        shutil.copyfile(kept, made / DICTIONARY)
    else:
        (made / DICTIONARY).write_text("".join(f"{symbol} 0\n" for symbol in listed), encoding="utf-8")
    (made / "vocab.bpe").write_text(merges_text(bpe), encoding="utf-8")
    (made / IDS_NAME).write_bytes(orjson.dumps({token: number for number, token in enumerate(bpe.tokens)}))


def _head_name(document: Mapping[str, Any]) -> str:
    """The name that the head had in fairseq, where it came from there."""
    name = document.get("fairseq_head")
    return name if isinstance(name, str) and name.isprintable() and name and "." not in name else USUAL_HEAD


def _can_be_listed(labels: tuple[str, ...]) -> bool:
    printable = all(label.isprintable() and label.strip() == label and label for label in labels)
    return printable and len(set(labels)) == len(labels) and not any(label.startswith(FILLER) for label in labels)
