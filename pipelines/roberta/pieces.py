"""What each id of a vocabulary stands for: ids back to text, and which characters of a text each token comes from.

A byte-level BPE writes each byte as one letter of a fixed table, so that its pieces are known to the byte whatever a
text holds; the table is that of GPT-2 (https://github.com/openai/gpt-2, ``src/encoder.py``, bytes_to_unicode).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.roberta.tokenizer import Tokenizer

_FILLER = re.compile(r"madeupword\d{4}")
"""What only brings fairseq's vocabularies to a round size (``Dictionary.pad_to_multiple_``): no text has it."""

_MOVED = [byte for byte in range(256) if not 0x21 <= byte <= 0x7E and not (byte >= 0xA1 and byte != 0xAD)]
_TO_LATIN = {256 + place: byte for place, byte in enumerate(_MOVED)}
"""Each byte's letter is the Latin-1 character of that number, or, where that cannot be seen, one from U+0100 on."""


class Pieces:
    """The pieces of a tokenizer by id."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        document = tokenizer.document
        vocabulary = document["model"]["vocab"]
        self._names: dict[int, str] = (
            {number: name for name, number in vocabulary.items()}
            if isinstance(vocabulary, dict)
            else {number: name for number, (name, _) in enumerate(vocabulary)}
        )
        added = document.get("added_tokens") or []
        self._literal = {token["id"] for token in added}
        self._special = {token["id"] for token in added if token.get("special")}
        self._names |= {token["id"]: token["content"] for token in added}
        self._byte_level = _is_byte_level(document)

    @property
    def begins_with_blank(self) -> bool:
        """Whether the first piece of every text has a blank that the text has not: a Unigram's pieces are of words."""
        return not self._byte_level

    def name(self, number: int) -> str:
        """A piece as the vocabulary writes it. Raises ValueError for an id that is not in it."""
        try:
            return self._names[number]
        except KeyError:
            raise ValueError(f"There is no token {number} in a vocabulary of {len(self._names)}.") from None

    @property
    def mask(self) -> int | None:
        """The id of ``<mask>``, where there is one."""
        return next((number for number in sorted(self._special) if self._names[number] == "<mask>"), None)

    @property
    def unknown(self) -> int | None:
        """The id of ``<unk>``, where there is one: what a Unigram makes of letters that no piece has."""
        return next((number for number in sorted(self._special) if self._names[number] == "<unk>"), None)

    def is_filler(self, number: int) -> bool:
        """Whether an id stands for no text at all and for nothing else either."""
        return _FILLER.fullmatch(self.name(number)) is not None

    def text(self, ids: Sequence[int]) -> str:
        """What tokens stand for, put together; special ones as they are called.

        Bytes that are no UTF-8 become U+FFFD. Raises ValueError for an id that is not in the vocabulary.
        """
        names = [self.name(number) for number in ids]
        if self._byte_level:
            return b"".join(self._bytes[number] for number in ids).decode("utf-8", errors="replace")
        return "".join(names).replace("▁", " ")

    def text_or_name(self, number: int) -> str:
        """What one token stands for; of an id without a piece, which an encoder may have more of, ``<id 50265>``."""
        return self.text([number]) if number in self._names else f"<id {number}>"

    def spans(self, ids: npt.NDArray[np.int32], text: str) -> npt.NDArray[np.int64]:
        """Which characters of a text its tokens come from; ``ids`` are its first ones, or all, without special ids.

        *Shape:* ids ``[tokens]``, result ``[tokens, 2]``: begin and end. A blank that a piece begins with is its own;
        tokens that share a character's bytes each have that character.
        """
        if self._byte_level:
            spans = self._byte_spans(ids, text)
            if spans is not None:
                return spans
        whole, places = self._tokenizer.places(text)
        if not np.array_equal(whole[: len(ids)], ids):
            raise ValueError("tokens that are not those of the text: this is a bug")
        return places[: len(ids)]

    def _byte_spans(self, ids: npt.NDArray[np.int32], text: str) -> npt.NDArray[np.int64] | None:
        """The same from the pieces' bytes alone; None where these are not the text's (a normaliser changed it)."""
        data, found = text.encode(), b"".join(self._bytes[number] for number in ids.tolist())
        put_before = 0
        if not data.startswith(found):
            put_before = 1  # a tokenizer may begin every text with a blank of its own
            if not found.startswith(b" ") or not data.startswith(found[1:]):
                return None
        ends = np.cumsum(self._lengths[ids], dtype=np.int64)
        begins = np.concatenate((np.zeros(1, np.int64), ends))[:-1]
        begins, ends = np.maximum(begins - put_before, 0), ends - put_before
        if len(data) == len(text):
            return np.stack((begins, ends), axis=1)
        # The number of each byte's character: bytes that go on with a character are 10xxxxxx.
        characters = np.cumsum((np.frombuffer(data, np.uint8) & 0xC0) != 0x80) - 1
        first, last = characters[np.minimum(begins, len(data) - 1)], characters[np.maximum(ends - 1, 0)]
        return np.stack((first, np.where(ends == begins, first, last + 1)), axis=1)

    @cached_property
    def _bytes(self) -> dict[int, bytes]:
        """What each piece of a byte-level BPE stands for."""
        return {
            number: name.encode() if number in self._literal else _letters_to_bytes(name)
            for number, name in self._names.items()
        }

    @cached_property
    def _lengths(self) -> npt.NDArray[np.int64]:
        """The number of bytes of each piece, *shape* ``[highest id + 1]``."""
        lengths = np.zeros(max(self._names) + 1, np.int64)
        for number, data in self._bytes.items():
            lengths[number] = len(data)
        return lengths


def _letters_to_bytes(name: str) -> bytes:
    try:
        return name.translate(_TO_LATIN).encode("latin-1")
    except UnicodeEncodeError:
        return name.encode()  # no piece of a text: something that was put into the vocabulary by hand


def _is_byte_level(document: dict[str, Any]) -> bool:
    steps = document.get("pre_tokenizer") or {}
    names = [steps.get("type"), *(step.get("type") for step in steps.get("pretokenizers", []))]
    return document["model"].get("type") == "BPE" and "ByteLevel" in names
