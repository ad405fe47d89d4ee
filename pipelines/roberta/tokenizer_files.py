"""The files of a tokenizer, brought into one form: the document that the tokenizers library reads.

A ``tokenizer.json`` is taken as it stands, but for padding and truncation, which users leave behind in it; a pair of
``vocab.json`` and ``merges.txt`` (older roberta checkpoints) is RoBERTa's byte-level BPE.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from pipelines.errors import InputError
from pipelines.roberta.config import read_json

MAX_TOKENIZER_BYTES = 512 * 2**20
COPY_AGAIN = "Copy the tokenizer's files again."


def tokenizer_document(folder: Path, model_type: str) -> dict[str, Any]:
    """The tokenizer of a checkpoint as a JSON-ready document. Raises InputError where there is none."""
    if (folder / "tokenizer.json").exists():
        document = read_json(folder / "tokenizer.json", MAX_TOKENIZER_BYTES)
    elif model_type == "roberta" and (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
        document = _byte_level_bpe(folder)
    else:
        wanted = "tokenizer.json" + (" or vocab.json with merges.txt" if model_type == "roberta" else "")
        raise InputError(
            f"{folder} has no tokenizer: wanted {wanted}.",
            "Save it beside the weights with transformers' save_pretrained.",
        )
    document["truncation"] = document["padding"] = None
    model, pre_tokenizer = document.get("model"), document.get("pre_tokenizer")
    if isinstance(model, dict) and "dropout" in model:
        model["dropout"] = None  # a training device: it would give other ids each time
    if model_type == "roberta" and isinstance(pre_tokenizer, dict) and pre_tokenizer.get("type") == "ByteLevel":
        prefix_space = _config(folder).get("add_prefix_space")
        if isinstance(prefix_space, bool):  # transformers lets tokenizer_config.json decide as well
            pre_tokenizer["add_prefix_space"] = prefix_space
    return document


def with_literal_specials(document: dict[str, Any]) -> dict[str, Any]:
    """The same tokenizer, but one that never takes a literal ``</s>`` in a text for the special token.

    A byte-level BPE cannot, once special tokens are not looked for. A Unigram has them among its pieces, where
    sentencepiece keeps them apart: behind a blank, which no word has after the split at blanks, they match nothing.
    """
    model = document.get("model")
    if not isinstance(model, dict) or model.get("type") != "Unigram" or document.get("pre_tokenizer") is None:
        return document
    added = document.get("added_tokens") or []
    specials = {token["content"] for token in added if token.get("special")}
    vocab = [[f" {piece}" if piece in specials else piece, score] for piece, score in model["vocab"]]
    ordinary = [token for token in added if not token.get("special")]
    return {**document, "added_tokens": ordinary, "model": {**model, "vocab": vocab}}


def check_tokenizer(tokenizer: Tokenizer, vocab_size: int, folder: Path) -> None:
    """Raise InputError where a tokenizer can make ids that the encoder has no embedding for."""
    highest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
    if highest < 0:
        raise InputError(f"{folder} has a tokenizer without tokens.", COPY_AGAIN)
    if highest >= vocab_size:
        raise InputError(
            f"{folder} has a tokenizer with ids up to {highest} and an encoder for {vocab_size} ids.",
            "Tokenizer and weights belong to different models, or tokens were added to one alone.",
        )


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    return read_json(path) if path.exists() else {}


def _byte_level_bpe(folder: Path) -> dict[str, Any]:
    vocab = read_json(folder / "vocab.json", MAX_TOKENIZER_BYTES)
    specials = {}
    for token in ("<s>", "<pad>", "</s>", "<unk>", "<mask>"):
        if not isinstance(vocab.get(token), int):
            raise InputError(f"{folder / 'vocab.json'} has no token {token!r}.", COPY_AGAIN)
        specials[token] = vocab[token]
    try:
        lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / 'merges.txt'} cannot be read: {error}.", COPY_AGAIN) from error
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "added_tokens": [{"id": number, "content": token, **flags} for token, number in specials.items()],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": {
            "type": "RobertaProcessing",
            "sep": ["</s>", specials["</s>"]],
            "cls": ["<s>", specials["<s>"]],
            "trim_offsets": True,
            "add_prefix_space": False,
        },
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": vocab,
            "merges": [line.split(" ") for line in lines if line and not line.startswith("#version")],
        },
    }
