"""What the language model head says where a ``<mask>`` is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch calls it so)

from pipelines.errors import DocumentError, InputError
from pipelines.hub.arguments import checked_count, checked_text, checked_texts
from pipelines.hub.batches import collate_tokens, token_batch
from pipelines.hub.loaded import Loaded
from pipelines.readings.mask_texts import around_mask, fill
from pipelines.readings.noun_phrases import noun_phrases
from pipelines.readings.pronoun_sentences import (
    PronounSentence,
    Weighed,
    cleaned_query,
    masked,
    parse_pronoun_sentence,
    rivals,
)
from pipelines.roberta.lm_head import LMHead
from pipelines.roberta.sentences import bare
from pipelines.roberta.states import LAST_TOKENS


def fill_mask(loaded: Loaded, head: LMHead, text: str, topk: int) -> list[tuple[str, float, str]]:
    """The filled text, its probability and the token, of the best ``topk``, as :meth:`Roberta.fill_mask` says."""
    topk = checked_count(topk, "topk")
    before, after = (bare(loaded.tokenizer, side) for side in around_mask(checked_text(text, "The text")))
    begin, _, end = loaded.tokenizer.around
    row = torch.from_numpy(np.array([*begin, *before, _mask(loaded), *after, *end], np.int64))
    states = loaded.encoder.forward(token_batch(row, loaded.config).rows, LAST_TOKENS)
    at_mask = states.tokens()[len(begin) + len(before)][None]
    probabilities = F.softmax(head.logits(at_mask)[0], dim=-1)
    best = probabilities.topk(min(topk, len(probabilities)))
    tokens = [loaded.pieces.text_or_name(number) for number in best.indices.tolist()]
    return [
        (fill(text, token), probability, token) for token, probability in zip(tokens, best.values.tolist(), strict=True)
    ]


def weigh_pronoun(loaded: Loaded, head: LMHead, marked: str, candidates: Sequence[str] | None) -> Weighed:
    """How likely each candidate, and the query, is in the pronoun's place, as :meth:`Roberta.weigh_pronoun` says."""
    sentence = parse_pronoun_sentence(checked_text(marked, "The sentence"))
    given = None if candidates is None else checked_texts(candidates, "the candidates")
    query = None if sentence.query is None else cleaned_query(sentence.query)
    chosen = rivals(noun_phrases(sentence.text) if given is None else given, query)
    if not chosen:
        raise DocumentError(
            "There is no candidate for the pronoun" + ("." if query is None else f" beside {query!r}."),
            "Name at least one that is neither part of the query nor has it in it.",
        )
    asked = chosen if query is None else [query, *chosen]
    scores = _scores(loaded, head, sentence, asked)
    weighed = tuple(zip(asked, scores, strict=True))
    return Weighed(None, weighed) if query is None else Weighed(weighed[0], weighed[1:])


def _scores(loaded: Loaded, head: LMHead, sentence: PronounSentence, asked: Sequence[str]) -> list[float]:
    """The mean log probability of each candidate's tokens, all of them masked at once. There is no ``<s>``."""
    end = loaded.tokenizer.around[2]
    rows, hidden, places = [], [], []
    for candidate in asked:
        text, first, last = sentence.with_candidate(candidate)
        ids = bare(loaded.tokenizer, text)
        covered, place = masked(ids, loaded.pieces.spans(ids, text), first, last, _mask(loaded))
        rows.append(ids)
        hidden.append(torch.from_numpy(np.array([*covered, *end], np.int64)))
        places.append(place)
    batch = token_batch(collate_tokens(hidden, loaded.config.pad_token_id), loaded.config)
    tokens = loaded.encoder.forward(batch.rows, LAST_TOKENS).tokens()
    starts = np.cumsum([0, *(len(row) for row in batch.rows)])
    scores = []
    for ids, place, start in zip(rows, places, starts[:-1], strict=True):
        found = torch.from_numpy(place + start).to(loaded.device)
        truth = torch.from_numpy(ids[place].astype(np.int64)).to(loaded.device)
        scores.append(float(head.log_probabilities(tokens[found], truth).mean()))
    return scores


def _mask(loaded: Loaded) -> int:
    mask = loaded.pieces.mask
    if mask is None:
        raise InputError(f"{loaded.model.source} has no <mask> in its tokenizer.", "Name a model that has.")
    return mask
