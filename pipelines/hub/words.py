"""Words with vectors, as a person reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pipelines.features.word_alignment import align, joined_words, with_special
from pipelines.features.word_split import split_words
from pipelines.hub.arguments import checked_texts
from pipelines.hub.batches import token_batch
from pipelines.hub.loaded import Loaded
from pipelines.roberta.sentences import bare
from pipelines.roberta.states import Needs


@dataclass(frozen=True, slots=True, eq=False)
class Word:
    """A word of a sentence and its vector, float32. *Shape:* ``[hidden]``, or ``[layers + 1, hidden]`` of all layers.

    ``begin`` and ``end`` are its characters in the sentence; ``<s>`` and ``</s>`` have none.
    """

    text: str
    vector: torch.Tensor
    begin: int
    end: int

    def __str__(self) -> str:
        return self.text


def aligned_words(loaded: Loaded, sentence: str | Sequence[str], layers: Sequence[int]) -> list[Word]:
    """The words of a sentence, or given words, with what these layers say of them, between ``<s>`` and ``</s>``.

    *Shape:* of a vector ``[layers, hidden]``. Raises as :meth:`Roberta.extract_features_aligned_to_words` says.
    """
    if isinstance(sentence, str):
        text, places = sentence, split_words(sentence)
    else:
        text, places = joined_words(checked_texts(sentence, "the words"))
    before, _, after = loaded.tokenizer.around
    ids = bare(loaded.tokenizer, text)
    batch = token_batch(torch.from_numpy(np.array([*before, *ids, *after], np.int64)), loaded.config)
    states = loaded.encoder.forward(batch.rows, Needs(frozenset(layers)))
    vectors = torch.stack([states.tokens(layer).float() for layer in layers]).cpu().numpy()
    alignment = with_special(align(loaded.pieces.spans(ids, text), places, text), len(before), len(after))
    sums = torch.from_numpy(alignment.sums(vectors)).to(loaded.device)
    words = [("<s>", 0, 0), *((text[begin:end], begin, end) for begin, end in places), ("</s>", len(text), len(text))]
    return [Word(word, sums[:, row], begin, end) for row, (word, begin, end) in enumerate(words)]
