"""Answers: the stretch of a context that answers a question best, found over all windows of the context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from pipelines.features.answer_search import NOWHERE, best_answers
from pipelines.features.columns import feature_fields
from pipelines.features.protocol import Values
from pipelines.features.token_head import TokenHead
from pipelines.readings.inputs import Rows
from pipelines.roberta.heads import Kind
from pipelines.roberta.packing import on_device
from pipelines.roberta.states import LAST_TOKENS, States
from pipelines.spec import AnswerOptions, FeatureSpec


class Answers:
    """Text, score and place of the best answer, and the score of there being none.

    A score is a sum of two logits: of an answer that of its first token to begin it and that of its last token to end
    it; of no answer those of ``<s>``, in the window that says least for it. There is no answer where that is higher,
    unless one is always wanted.
    So does https://github.com/huggingface/transformers (v5.23.0, ``examples/pytorch/question-answering/utils_qa.py``).
    """

    needs = LAST_TOKENS

    def __init__(self, spec: FeatureSpec, device: torch.device, *, batch_invariant: bool = False) -> None:
        assert isinstance(spec.options, AnswerOptions)
        self.spec, self.options = spec, spec.options
        self._head = TokenHead(spec.model, Kind.ANSWERS, device, batch_invariant=batch_invariant)
        self.nbytes = self._head.nbytes

    def fields(self) -> list[pa.Field]:
        return feature_fields(self.spec)

    def compute(self, states: States, notes: Sequence[Any]) -> tuple[Values, ...]:
        logits = self._head(states.tokens())
        allowed = np.zeros(len(logits), np.bool_)
        for window, start in zip(notes, np.cumsum((0, *states.packing.lengths)).tolist(), strict=False):
            begin = start + window.first
            allowed[begin : begin + len(window.places)] = window.places[:, 1] > window.places[:, 0]
        scores, first, last = best_answers(
            logits, states.packing, on_device(allowed, logits.device), self.options.max_answer_tokens
        )
        none = logits[states.packing.cu_seqlens[:-1].long()].sum(dim=1)
        return scores, first, last, none

    def columns(self, values: Sequence[Values], rows: Rows) -> list[pa.Array]:
        scores, first, last, none = values
        no_answer = np.minimum.reduceat(none, rows.starts)
        answers: list[str | None] = []
        best: list[float | None] = []
        places: list[tuple[int | None, int | None]] = []
        bounds = zip(rows.starts.tolist(), rows.counts.tolist(), strict=True)
        for inputs, (start, count), other in zip(rows.inputs, bounds, no_answer.tolist(), strict=True):
            there = first[start : start + count] != NOWHERE
            window = int(np.where(there, scores[start : start + count], -np.inf).argmax())
            score = float(scores[start + window]) if there[window] else None
            best.append(score)
            if score is None or (score < other and not self.options.always):
                answers.append(None)
                places.append((None, None))
                continue
            note = inputs.notes[window]
            begin = int(note.places[first[start + window] - note.first, 0])
            end = int(note.places[last[start + window] - note.first, 1])
            answers.append(inputs.text[begin:end])
            places.append((begin, end))
        return [
            pa.array(answers, pa.string()),
            pa.array(best, pa.float32()),
            *(pa.array(side, pa.int32()) for side in zip(*places, strict=True)),
            pa.array(no_answer, pa.float32()),
        ]
