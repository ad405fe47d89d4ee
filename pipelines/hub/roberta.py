"""One model in the hand: the functions of fairseq's hub interface, by our own forward pass.

Names, arguments and results are those of fairseq (https://github.com/facebookresearch/fairseq at 3d262bb2,
``fairseq/models/roberta/hub_interface.py``); where it fails or misleads, the docstrings say what is done instead.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Literal, overload

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch calls it so)

from pipelines.errors import InputError
from pipelines.hub import loaded as loading
from pipelines.hub.arguments import ArgumentError, TokensError, checked_count, checked_text, checked_tokens
from pipelines.hub.batches import token_batch
from pipelines.hub.heads import ClassificationHead, own_heads
from pipelines.hub.loaded import Loaded
from pipelines.hub.masks import fill_mask, weigh_pronoun
from pipelines.hub.words import Word, aligned_words
from pipelines.readings.pronoun_sentences import Weighed
from pipelines.roberta.checkpoint import described
from pipelines.roberta.failures import is_out_of_memory
from pipelines.roberta.lm_head import LMHead
from pipelines.roberta.names import MODELS
from pipelines.roberta.sentences import decode, encode
from pipelines.roberta.states import LAST_FIRST, LAST_TOKENS, Needs


class Roberta:
    """A checkpoint on a device. There is no dropout and no gradient of the encoder: it is as after ``eval()``.

    ``model`` is the pinned checkpoint, ``heads`` are its classification heads by name. Results are float32 in every
    number format, and on the model's device; ids may be anywhere.
    """

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self.model = loaded.model
        self.config = loaded.config
        self.device = loaded.device
        self.heads = own_heads(loaded.model, loaded.device)

    @classmethod
    def load(cls, model: str, *, device: str = "cpu", dtype: str = "float32", models: str | Path = MODELS) -> Roberta:
        """Load a checkpoint: a folder, ``org/name[@revision]`` on the model hub, or a known name (``roberta.large``).

        A name is looked for in ``models``, where a user's models are, before the hub. ``device`` is as torch names it;
        ``dtype`` is float32, bfloat16, float16, or int8 on a CPU. Raises InputError where there is no such checkpoint,
        SurroundingsError where the device cannot be used or is too small.
        """
        return cls(loading.load(model, device, dtype, models))

    def eval(self) -> Roberta:
        """Itself: there is nothing to switch off."""
        return self

    @property
    def max_positions(self) -> int:
        """The longest row of ids, special ones included."""
        return self.config.token_limit

    def encode(self, sentence: str, *more: str, no_separator: bool = False) -> torch.Tensor:
        """Ids of one or more sentences: ``<s> a </s>``, ``<s> a </s> </s> b </s>``, with ``no_separator`` one ``</s>``.

        Nothing is stripped or cut, no blank is put before: ``world`` and `` world`` are two words. Literal ``</s>`` or
        ``<mask>`` in a text are text. *Shape:* int64 ``[tokens]``, on the CPU. Raises DocumentError for a text with
        half a surrogate pair, ArgumentError, a ValueError, for what is no text.
        """
        for text in (sentence, *more):
            checked_text(text, "A sentence")
        ids = encode(self._loaded.tokenizer, [sentence, *more], separator=not no_separator)
        return torch.from_numpy(ids.astype(np.int64))

    def decode(self, tokens: torch.Tensor) -> str | list[str]:
        """The sentence that ids stand for, or a list of them where two ``</s>`` meet. *Shape:* ``[tokens]``.

        ``<mask>`` and ``<unk>`` stay in the text, ``<pad>`` is left out (fairseq fails on it), and a pair with an empty
        side is two sentences (fairseq makes three). Raises TokensError, a ValueError, for ids that stand for no text.
        """
        if checked_tokens(tokens).dim() != 1:
            raise TokensError(f"Tokens have shape {list(tokens.shape)}, wanted one row.", "Decode them one by one.")
        tokenizer, pieces = self._loaded.tokenizer, self._loaded.pieces
        try:
            sentences = decode(tokenizer, pieces, tokens.tolist(), padding=self.config.pad_token_id)
        except ValueError as error:
            raise TokensError(str(error), "Give ids that encode() of this model makes.") from error
        return sentences[0] if len(sentences) == 1 else sentences

    @overload
    def extract_features(self, tokens: torch.Tensor, return_all_hiddens: Literal[False] = False) -> torch.Tensor: ...
    @overload
    def extract_features(self, tokens: torch.Tensor, return_all_hiddens: Literal[True]) -> list[torch.Tensor]: ...

    def extract_features(
        self, tokens: torch.Tensor, return_all_hiddens: bool = False
    ) -> torch.Tensor | list[torch.Tensor]:
        """The last layer's vectors, or a list of what the embeddings and each layer give.

        *Shape:* tokens ``[tokens]`` or, padded, ``[rows, tokens]``; vectors ``[rows, tokens, hidden]``, with zeros for
        padding, where fairseq has arbitrary values. Raises TokensError, a ValueError, for rows longer than the limit.
        """
        batch = token_batch(tokens, self.config)
        layers = range(self._loaded.layers + 1)
        states = self._loaded.encoder.forward(
            batch.rows, Needs(frozenset(layers)) if return_all_hiddens else LAST_TOKENS
        )
        if return_all_hiddens:
            return [batch.padded(states.tokens(layer)) for layer in layers]
        return batch.padded(states.tokens())

    def extract_features_aligned_to_words(
        self, sentence: str | Sequence[str], return_all_hiddens: bool = False
    ) -> list[Word]:
        """A sentence's words with their vectors: ``<s>``, the words, ``</s>``; those of all layers if asked for.

        A vector is the sum of the word's tokens, of which one that several words share gives each an equal part: the
        sum over all rows is that over all tokens. The words are those given, put together with blanks, or those of
        :func:`pipelines.features.word_split.split_words`; fairseq takes spaCy's, and fails where a character is spread
        over several tokens, at double blanks and for all layers. Blanks behind the last word count for ``</s>``.
        Raises DocumentError for half a surrogate pair, TokensError for a sentence that is too long.
        """
        layers = range(self._loaded.layers + 1) if return_all_hiddens else [self._loaded.layers]
        words = aligned_words(self._loaded, sentence, layers)
        return words if return_all_hiddens else [replace(word, vector=word.vector[0]) for word in words]

    def register_classification_head(
        self, name: str, num_classes: int, embedding_size: int | None = None, inner_dim: int | None = None
    ) -> None:
        """Add a head with random weights, for :meth:`predict`; it is ``heads[name]``, a module to be trained or loaded.

        ``embedding_size`` is that of the vectors it reads, which the model decides (fairseq takes any and uses none).
        A head of that name is replaced, with a warning. Raises ArgumentError, a ValueError, for sizes that cannot be.
        """
        hidden = self.config.hidden_size
        if embedding_size is not None and checked_count(embedding_size, "embedding_size") != hidden:
            raise ArgumentError(
                f"embedding_size is {embedding_size}, the model's vectors have {hidden}.", "Leave it out, or give that."
            )
        inner = None if inner_dim is None else checked_count(inner_dim, "inner_dim")
        classes = checked_count(num_classes, "num_classes")
        if checked_text(name, "The name of the head") in self.heads:
            warnings.warn(f"There was a head {name!r} already; it is replaced.", stacklevel=2)
        try:
            self.heads[name] = ClassificationHead(hidden, classes, inner).to(self.device)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            found = f"num_classes is {classes}" + (f" and inner_dim {inner}" if inner else "")
            raise ArgumentError(f"{found}: no memory holds such a head.", "Give smaller numbers.") from error

    def predict(self, head: str, tokens: torch.Tensor, return_logits: bool = False) -> torch.Tensor:
        """A head's log probabilities, or its scores before the softmax. *Shape:* ``[rows, classes]``.

        ``head`` is one that was registered, or the checkpoint's own (:func:`pipelines.hub.heads.own_heads` has its
        names; ``model.labels`` names its classes). *Shape:* tokens ``[tokens]`` or, padded, ``[rows, tokens]``. Raises
        InputError for an unknown head, naming those there are, TokensError as :meth:`extract_features` does.
        """
        if checked_text(head, "The head") not in self.heads:
            found = ", ".join(map(repr, self.heads)) or "no head for classes"
            raise InputError(
                f"{self.model.source} has no head {head!r}, it has {found}: it is {described(self.model)}.",
                "Name one of these, or add one with register_classification_head.",
            )
        states = self._loaded.encoder.forward(token_batch(tokens, self.config).rows, LAST_FIRST)
        logits: torch.Tensor = self.heads[head](states.first().float().clone())
        return logits if return_logits else F.log_softmax(logits, dim=-1)

    def fill_mask(self, text: str, topk: int = 5) -> list[tuple[str, float, str]]:
        """The best tokens for the one ``<mask>`` of a text: the filled text, the probability, the token with its blank.

        Blanks before the mask and at the end are not read; the softmax is over the whole vocabulary, special tokens
        included, which stand under their names in the result (fairseq leaves them out and gives the others wrong
        probabilities). Raises DocumentError without exactly one mask, InputError where the model has no language model
        head, naming what it has, TokensError for a text that is too long.
        """
        return fill_mask(self._loaded, self._lm_head, text, topk)

    def disambiguate_pronoun(self, sentence: str, candidates: Sequence[str] | None = None) -> bool | str:
        """Whether ``[it]`` is the ``_query_`` of a sentence, or, without a query, which candidate it is.

        ``True`` where the query is at least as likely in the pronoun's place as each candidate. Any model with a
        language model head can be asked (fairseq takes those of its own task only); roberta.large.wsc has learnt it.
        Arguments and errors are those of :meth:`weigh_pronoun`.
        """
        return self.weigh_pronoun(sentence, candidates).answer

    def weigh_pronoun(self, sentence: str, candidates: Sequence[str] | None = None) -> Weighed:
        """How likely each candidate, and the query, is in the pronoun's place: the mean log probability of its tokens.

        Of given ``candidates``, and of the noun phrases that spaCy finds where none are given, those that contain the
        query or are part of it are left out. Raises DocumentError for other markup than one ``[pronoun]`` and at most
        one ``_query_``, and where no candidate is left (fairseq fails on these), InputError where the model has no
        language model head, or spaCy is needed and not installed, TokensError for a sentence that is too long.
        """
        return weigh_pronoun(self._loaded, self._lm_head, sentence, candidates)

    @cached_property
    def _lm_head(self) -> LMHead:
        return LMHead.load(self.model, self.device)
