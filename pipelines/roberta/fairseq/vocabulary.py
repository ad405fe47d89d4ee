"""RoBERTa's tokenizer from ``dict.txt`` and ``vocab.bpe``, as the files that transformers reads; and back.

A symbol of dict.txt is the decimal GPT-2 id of a token; its place in the file, plus the four special ones before it, is
the id that the model knows. ``<mask>`` comes last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from pipelines.errors import InputError
from pipelines.roberta.fairseq.dictionary import FILLER, MASK, SPECIALS
from pipelines.roberta.fairseq.gpt2 import END_OF_TEXT, Bpe
from pipelines.roberta.tokenizer_files import tokenizer_document


def vocabulary(symbols: Sequence[str], bpe: Bpe, place: str) -> dict[str, int]:
    """Token → id of the model. Raises InputError where the dictionary and the BPE do not belong together."""
    tokens = [*SPECIALS]
    for symbol in symbols:
        if symbol.startswith(FILLER):
            tokens.append(symbol)
        elif not symbol.isdecimal() or not symbol.isascii() or len(symbol) > 9 or int(symbol) >= len(bpe.tokens):
            raise InputError(
                f"{place} has the symbol {symbol[:40]!r}, wanted ids of GPT-2 below {len(bpe.tokens)}.",
                "Dictionaries of sentencepiece (XLM-R, CamemBERT) or of another BPE cannot be imported.",
            )
        else:
            tokens.append(bpe.tokens[int(symbol)])
    tokens.append(MASK)
    found = {token: number for number, token in enumerate(tokens)}
    missing = [token for token in bpe.tokens if token not in found and token != END_OF_TEXT]
    if len(found) != len(tokens) or missing:
        what = f"lacks {len(missing)} tokens of its BPE, {missing[0]!r} the first" if missing else "has a token twice"
        raise InputError(
            f"{place} {what}.", "Name the dict.txt and the vocab.bpe (--bpe) that the model was trained with."
        )
    return found


def write_tokenizer(folder: Path, tokens: Mapping[str, int], bpe: Bpe, max_tokens: int) -> None:
    """Write ``vocab.json``, ``merges.txt``, ``tokenizer.json`` and ``tokenizer_config.json`` into a folder."""
    _write_json(folder / "vocab.json", tokens)
    (folder / "merges.txt").write_text(merges_text(bpe), encoding="utf-8")
    document = tokenizer_document(folder, "roberta")
    for token in document["added_tokens"]:
        token["lstrip"] = token["content"] == MASK  # as in the tokenizers of the hub: the blank before it is its own
    _write_json(folder / "tokenizer.json", document)
    specials = {"bos_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "cls_token": "<s>"}
    specials |= {"unk_token": "<unk>", "pad_token": "<pad>", "mask_token": MASK}
    config = {"tokenizer_class": "RobertaTokenizer", "model_max_length": max_tokens, "add_prefix_space": False}
    _write_json(folder / "tokenizer_config.json", {**config, **specials})


def merges_text(bpe: Bpe) -> str:
    """``vocab.bpe``, which transformers calls ``merges.txt``."""
    return "".join(("#version: 0.2\n", *(f"{first} {second}\n" for first, second in bpe.merges)))


def symbols_of(vocab: Mapping[str, int], bpe: Bpe, place: str) -> list[str]:
    """The symbols of ``dict.txt`` that give the ids of a vocabulary. Raises InputError where none can."""
    tokens = sorted(vocab, key=lambda token: vocab[token])
    in_order = [vocab[token] for token in tokens] == list(range(len(tokens)))
    if not in_order or tokens[: len(SPECIALS)] != [*SPECIALS] or tokens[-1] != MASK:
        raise InputError(
            f"{place} has another vocabulary than fairseq's RoBERTa: wanted {', '.join(SPECIALS)} first, {MASK} last."
        )
    ids = {token: str(number) for number, token in enumerate(bpe.tokens)}
    unknown = next((token for token in tokens[4:-1] if token not in ids and not token.startswith(FILLER)), None)
    if unknown is not None:
        raise InputError(f"{place} has the token {unknown[:40]!r}, which its merges do not give.")
    return [ids.get(token, token) for token in tokens[len(SPECIALS) : -1]]


def _write_json(path: Path, document: Any) -> None:
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
