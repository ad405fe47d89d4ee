"""Texts to ids, exactly as transformers does with ``split_special_tokens=True``, in flat memory.

The tokenizers library is used bare: no padding, no offsets, no per-text dictionaries. Literal ``</s>`` or ``<mask>`` in
a text are text, also for a Unigram, where that setting of transformers still makes them special. A text is tokenised
to its end, for its length is a column, but only the ids that are used are kept.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import tokenizers

from pipelines.errors import InputError
from pipelines.roberta.tokenizer_files import COPY_AGAIN, check_tokenizer, tokenizer_document, with_literal_specials

SLICE_CHARACTERS = 2**16
GROUP_CHARACTERS = 2**19
"""The library holds about 100 bytes per token while it works on a group."""

# A byte-level BPE sees a text as pieces that begin with at most one blank and go on to the next: before a single blank
# between two non-blanks a piece always begins, so nothing on either side depends on the other. Python's \s covers all
# that the library's does.
_BYTE_LEVEL_CUT = re.compile(r"(?<=\S)(?= \S)")
# A Unigram behind a split at whitespace sees single words. Its normaliser works on grapheme clusters, which end at
# ASCII letters and digits for certain.
_WORDS_CUT = re.compile(r"(?<=[0-9A-Za-z])(?= [0-9A-Za-z])")


@dataclass(frozen=True, slots=True)
class Encoded:
    """Ids of several documents, one after the other.

    *Shape:* ids ``[sum of n_used]``, offsets ``[documents + 1]``, n_tokens and n_used ``[documents]``. Lengths are in
    tokens with special ones; n_tokens is the length of the whole text, n_used what is left of it after cutting.
    """

    ids: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    n_tokens: npt.NDArray[np.int32]
    n_used: npt.NDArray[np.int32]


class Tokenizer:
    """The tokenizer of a checkpoint folder. Raises InputError where there is none or it does not work."""

    def __init__(self, folder: Path, model_type: str, vocab_size: int) -> None:
        document = tokenizer_document(folder, model_type)
        try:
            raw = tokenizers.Tokenizer.from_str(orjson.dumps(with_literal_specials(document)).decode())
            check_tokenizer(raw, vocab_size, folder)
            raw.encode_special_tokens = True
            raw.no_padding()
            raw.no_truncation()
            self._single, self._pair = _template(raw, folder, pair=False), _template(raw, folder, pair=True)
            self._cut = _cut_for(document)
        except InputError:
            raise
        except BaseException as error:  # the library raises bare Exception, and panics past even that
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            raise InputError(f"{folder} has a tokenizer that does not work: {error}.", COPY_AGAIN) from error
        self.document = document
        self._raw = raw

    def encode(self, texts: Sequence[str], pairs: Sequence[str | None] | None, max_tokens: int) -> Encoded:
        """Tokenise documents, each a text or a pair, and cut each to ``max_tokens`` (special tokens included).

        A pair is cut longest first, as the tokenizers library does. Raises ValueError where ``max_tokens`` leaves no
        room for special tokens, UnicodeEncodeError or TypeError where a text has a lone surrogate.
        """
        seconds = pairs if pairs is not None else [None] * len(texts)
        if max_tokens < sum(map(len, self._pair)):
            raise ValueError(f"max_tokens is {max_tokens}, wanted at least {sum(map(len, self._pair))}")
        ids, kept, lengths = array("i"), array("i"), array("i")
        if all(pair is None for pair in seconds):
            special, room = sum(map(len, self._single)), max_tokens - sum(map(len, self._single))
            for found, length in self._tokens(texts, room):
                ids.fromlist(found if len(found) <= room else found[:room])
                kept.append(min(length, room))
                lengths.append(length + special)
            return _around(ids, kept, lengths, self._single)
        sides = [side for text, pair in zip(texts, seconds, strict=True) for side in (text, pair)]
        tokens = self._tokens([side for side in sides if side is not None], max_tokens)
        for pair in seconds:
            template = self._single if pair is None else self._pair
            special = sum(map(len, template))
            halves = [next(tokens)] if pair is None else [next(tokens), next(tokens)]
            room = max_tokens - special
            keep = (room,) if pair is None else longest_first(halves[0][1], halves[1][1], room)
            before = len(ids)
            ids.fromlist(template[0])
            for (found, _), count, after in zip(halves, keep, template[1:], strict=True):
                ids.fromlist(found[:count])
                ids.fromlist(after)
            kept.append(len(ids) - before)
            lengths.append(special + sum(length for _, length in halves))
        return _around(ids, kept, lengths, [[], []])

    @property
    def around(self) -> tuple[list[int], list[int], list[int]]:
        """The special ids before a text, between the two of a pair, and after the last one."""
        return self._single[0], self._pair[1], self._single[1]

    def bare(self, text: str) -> npt.NDArray[np.int32]:
        """The ids of a whole text without special ones, *shape* ``[tokens]``. Raises as :meth:`encode` does."""
        ids = self.encode([text], None, 2**31 - 1).ids
        return ids[len(self._single[0]) : len(ids) - len(self._single[1])]

    def places(self, text: str) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """The ids of :meth:`bare`, and which characters of the text each comes from, as the library sees it.

        *Shape:* ids ``[tokens]``, places ``[tokens, 2]``: begin and end. It takes ten times as long as ids alone.
        """
        ids: list[int] = []
        places: list[tuple[int, int]] = []
        start = 0
        for part, _ in self._slices([text]):
            encoding = self._raw.encode(part, add_special_tokens=False)
            ids += encoding.ids
            places += [(start + begin, start + end) for begin, end in encoding.offsets]
            start += len(part)
        return np.array(ids, np.int32), np.array(places, np.int64).reshape(-1, 2)

    def _tokens(self, sides: Sequence[str], keep: int) -> Iterator[tuple[list[int], int]]:
        """The first ``keep`` ids of each text at least, and its length in tokens, both without special tokens."""
        first: list[int] = []
        length = 0
        for group in _groups(self._slices(sides)):
            encodings = self._raw.encode_batch_fast([text for text, _ in group], add_special_tokens=False)
            for (_, last), encoding in zip(group, encodings, strict=True):
                if length < keep:
                    ids = encoding.ids
                    first = first + ids[: keep - length] if first else ids
                length += len(encoding)
                if last:
                    yield first, length
                    first, length = [], 0

    def _slices(self, sides: Sequence[str]) -> Iterator[tuple[str, bool]]:
        """Texts in slices that tokenise as the whole does; the flag marks a text's last slice."""
        for text in sides:
            start = 0
            while self._cut is not None and len(text) - start > SLICE_CHARACTERS:
                cut = self._cut.search(text, start + SLICE_CHARACTERS)
                if cut is None:
                    break
                yield text[start : cut.start()], False
                start = cut.start()
            yield (text[start:] if start else text), True


def _around(ids: array[int], kept: array[int], lengths: array[int], template: list[list[int]]) -> Encoded:
    """Documents of so many ids each with the special ids around them, put there all at once."""
    before, after = template
    used = np.frombuffer(kept, np.int32) + np.int32(len(before) + len(after))
    offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(used, dtype=np.int64)))
    whole = np.empty(offsets[-1], np.int32)
    ordinary = np.ones(offsets[-1], np.bool_)
    for number, special in enumerate(before):
        whole[offsets[:-1] + number] = special
        ordinary[offsets[:-1] + number] = False
    for number, special in enumerate(reversed(after), start=1):
        whole[offsets[1:] - number] = special
        ordinary[offsets[1:] - number] = False
    whole[ordinary] = np.frombuffer(ids, np.int32)
    return Encoded(whole, offsets, np.array(lengths, np.int32), used)


def longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens of each side of a pair are kept when both may have ``room`` together.

    The same as removing one token at a time from the longer side; of two equal ones the first gives way.
    Source: https://github.com/huggingface/tokenizers, ``tokenizers/src/utils/truncation.rs``.
    """
    if first + second <= room:
        return first, second
    short, long = sorted((first, second))
    long = short if short > room else max(short, room - short)
    if short + long > room:
        short = room // 2
        long = room - short
    return (short, long) if first <= second else (long, short)


def _groups(slices: Iterator[tuple[str, bool]]) -> Iterator[list[tuple[str, bool]]]:
    group: list[tuple[str, bool]] = []
    characters = 0
    for item in slices:
        group.append(item)
        characters += len(item[0])
        if characters >= GROUP_CHARACTERS:
            yield group
            group, characters = [], 0
    if group:
        yield group


def _cut_for(document: dict[str, Any]) -> re.Pattern[str] | None:
    """Where this tokenizer's texts may be sliced; nowhere if the slices might not tokenise as the whole does."""
    for token in document.get("added_tokens") or []:
        if not token.get("special") and (
            re.search(r"\s", token["content"]) or token["lstrip"] or token["rstrip"] or token["single_word"]
        ):
            return None  # such a token is found in the text before any splitting, across a cut as well
    steps = document.get("pre_tokenizer") or {}
    model, normalizer = document["model"].get("type"), document.get("normalizer")
    if steps.get("type") == "ByteLevel" and steps.get("use_regex", True) and model == "BPE" and normalizer is None:
        return _BYTE_LEVEL_CUT
    names = [step.get("type") for step in steps.get("pretokenizers", [])]
    normalizes_locally = normalizer is None or normalizer.get("type") == "Precompiled"
    if names == ["WhitespaceSplit", "Metaspace"] and model == "Unigram" and normalizes_locally:
        metaspace = steps["pretokenizers"][1]
        if metaspace.get("prepend_scheme", "always" if metaspace.get("add_prefix_space", True) else "never") != "first":
            return _WORDS_CUT
    return None


def _template(raw: tokenizers.Tokenizer, folder: Path, *, pair: bool) -> list[list[int]]:
    """The special ids before, between and after the sides of an input, as the post-processor puts them."""
    encoding = raw.encode("a", "a") if pair else raw.encode("a")
    sequences = [*encoding.sequence_ids]
    parts: list[list[int]] = [[]]
    for (before, after), number in zip(pairwise([None, *sequences]), encoding.ids, strict=True):
        if after is None:
            parts[-1].append(number)
        elif after != before:
            parts.append([])
    if len(parts) != 2 + pair or not parts[0] or not parts[-1]:
        raise InputError(
            f"{folder} has a tokenizer that puts no special tokens around a text.",
            "Save it again with transformers, which adds the post-processor that RoBERTa needs.",
        )
    return parts
