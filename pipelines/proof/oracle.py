"""What plain transformers computes for one document: alone, in float32, on the CPU, with none of our code.

Only the proof's own process imports this file: it loads torch and transformers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers

from pipelines.proof.compare import Vector
from pipelines.spec import Long, LongTexts, ModelRef

Place = tuple[int, int, bool]
"""The characters of a token, begin and end, and whether it is the one for what is in no vocabulary."""
LOADING: dict[str, Any] = {
    "attn_implementation": "eager",
    "chunk_size_feed_forward": 0,  # only how transformers cuts its work, and then not every length fits
    "dtype": torch.float32,
    "local_files_only": True,
    "trust_remote_code": False,
    "use_safetensors": True,
}
"""How transformers loads every model."""
_QUIET = 100


@dataclass(frozen=True, slots=True)
class Window:
    """A question with a stretch of its context: the ids, and of each token of the context its number and characters."""

    ids: list[int]
    places: list[tuple[int, tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class Computed:
    """One row of ids by the oracle. *Shape:* hidden ``[layers + 1][tokens, hidden]``; logits ``[classes]``, empty
    without a classifier.
    """

    hidden: tuple[Vector, ...]
    logits: Vector

    @property
    def tokens(self) -> int:
        """How many tokens the row has."""
        return len(self.hidden[0])


class Sight:
    """What transformers makes of texts for a checkpoint: its tokenizer."""

    def __init__(self, model: ModelRef) -> None:
        transformers.logging.set_verbosity(_QUIET)
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(
            model.path, split_special_tokens=True, local_files_only=True, trust_remote_code=False
        )
        self._is_bpe = type(self._tokenizer.backend_tokenizer.model).__name__ == "BPE"

    def reads_alike(self, text: str, pair: str | None) -> bool:
        """Whether transformers can be asked about a text: of a literal ``<mask>`` it makes a special token where the
        tokenizer is a Unigram, whatever its setting.
        """
        return self._is_bpe or not any(token in text + (pair or "") for token in self._tokenizer.all_special_tokens)

    def rows(self, text: str, pair: str | None, max_tokens: int, long: LongTexts) -> list[list[int]]:
        """The ids of a document, special tokens included: cut to ``max_tokens``, of a pair the longer side first; or
        window by window.
        """
        if pair is not None:
            return [self.pair(text, pair, max_tokens, "longest_first")]
        if long.policy is not Long.WINDOW:
            return [list(self._tokenizer(text, truncation=True, max_length=max_tokens)["input_ids"])]
        found = self._tokenizer(
            text, truncation=True, max_length=max_tokens, stride=long.stride, return_overflowing_tokens=True
        )
        rows = found["input_ids"]
        return [list(row) for row in rows] if isinstance(rows[0], list) else [list(rows)]

    def pair(self, first: str, second: str, max_tokens: int, cut: str) -> list[int]:
        """The ids of a pair; ``cut`` is the library's name for what is cut.

        In lists, for of a bare pair the library takes an empty second side for none (transformers 5.23).
        """
        rows = self._tokenizer([first], [second], truncation=cut, max_length=max_tokens)["input_ids"]
        return list(rows[0])

    def bare(self, text: str) -> list[int]:
        """The ids of a whole text without special ones."""
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def around(self, ids: list[int]) -> list[int]:
        """A row of ids with the special ones around it."""
        return [self._tokenizer.bos_token_id, *ids, self.end]

    @property
    def mask(self) -> int:
        """The id of ``<mask>``."""
        return int(self._tokenizer.mask_token_id)

    @property
    def end(self) -> int:
        """The id of ``</s>``."""
        return int(self._tokenizer.eos_token_id)

    def places(self, text: str) -> list[Place]:
        """Which characters of a whole text its tokens come from."""
        found = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        pairs = zip(found["input_ids"], found["offset_mapping"], strict=True)
        return [(begin, end, number == self._tokenizer.unk_token_id) for number, (begin, end) in pairs]

    def windows(self, question: str, context: str, max_tokens: int, stride: int) -> list[Window]:
        """A question with each window of its context; these share ``stride`` tokens, or half of what they hold."""
        bare = self._tokenizer(question, add_special_tokens=False)["input_ids"]
        room = max_tokens - len(bare) - self._tokenizer.num_special_tokens_to_add(pair=True)
        found = self._tokenizer(
            question, context, truncation="only_second", max_length=max_tokens,
            stride=min(stride, room // 2),
            return_overflowing_tokens=True, return_offsets_mapping=True,
        )  # fmt: skip
        return [
            Window(
                list(ids),
                [(n, place) for n, place in enumerate(found["offset_mapping"][row]) if found.sequence_ids(row)[n] == 1],
            )
            for row, ids in enumerate(found["input_ids"])
        ]


class Oracle:
    """A checkpoint as transformers loads it, with its classifier or without."""

    def __init__(self, model: ModelRef, *, classifies: bool) -> None:
        transformers.logging.set_verbosity(_QUIET)
        options = dict(LOADING)
        if classifies:
            options["num_labels"] = len(model.labels) or 1
        kind = transformers.AutoModelForSequenceClassification if classifies else transformers.AutoModel
        self._model = kind.from_pretrained(model.path, **options).eval()
        self._classifies = classifies

    def compute(self, ids: list[int]) -> Computed:
        """Forward one document alone."""
        with torch.inference_mode():
            output = self._model(input_ids=torch.tensor([ids]), output_hidden_states=True)
            hidden = tuple(state[0].numpy() for state in output.hidden_states)
            logits: Vector = output.logits[0].numpy() if self._classifies else np.empty(0, np.float32)
        return Computed(hidden, logits)
