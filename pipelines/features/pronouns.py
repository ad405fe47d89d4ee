"""What a pronoun stands for: of several candidates the one that a language model finds likeliest in its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from pipelines.features.columns import feature_fields
from pipelines.features.protocol import Values
from pipelines.readings.inputs import Rows
from pipelines.readings.pronoun_sentences import Weighed
from pipelines.readings.pronouns import Masked
from pipelines.roberta.lm_head import AT_ONCE, LMHead
from pipelines.roberta.packing import on_device
from pipelines.roberta.states import LAST_TOKENS, States
from pipelines.spec import FeatureSpec


class Pronouns:
    """The answer, and each candidate, the query first if there is one, with the mean log probability of its tokens."""

    needs = LAST_TOKENS

    def __init__(self, spec: FeatureSpec, device: torch.device, *, batch_invariant: bool = False) -> None:
        self.spec = spec
        self._head = LMHead.load(spec.model, device, batch_invariant=batch_invariant)
        self.nbytes = self._head.nbytes

    def fields(self) -> list[pa.Field]:
        return feature_fields(self.spec)

    def compute(self, states: States, notes: Sequence[Masked]) -> tuple[Values, ...]:
        device, starts = states.packing.cu_seqlens.device, np.cumsum((0, *states.packing.lengths))
        places = np.concatenate([note.places + start for note, start in zip(notes, starts, strict=False)])
        truth = np.concatenate([note.ids for note in notes]).astype(np.int64)
        asked = (torch.split(on_device(array, device), AT_ONCE) for array in (places, truth))
        found = [self._head.log_probabilities(states.tokens()[some], ids) for some, ids in zip(*asked, strict=True)]
        ends = np.cumsum([0, *(len(note.places) for note in notes)])
        return (torch.segment_reduce(torch.cat(found), "mean", offsets=on_device(ends, device), unsafe=True),)

    def columns(self, values: Sequence[Values], rows: Rows) -> list[pa.Array]:
        answers: list[bool | str] = []
        listed: list[list[dict[str, Any]]] = []
        for scores, one in zip(np.split(values[0], rows.starts[1:]), rows.inputs, strict=True):
            weighed = [(note.text, float(score)) for note, score in zip(one.notes, scores, strict=True)]
            asked = weighed[0] if one.notes[0].is_query else None
            answers.append(Weighed(asked, tuple(weighed[asked is not None :])).answer)
            listed.append([{"text": text, "score": score} for text, score in weighed])
        kinds = [field.type for field in self.fields()]
        return [
            pa.array([answer if isinstance(answer, str) else None for answer in answers], kinds[0]),
            pa.array([answer if isinstance(answer, bool) else None for answer in answers], kinds[1]),
            pa.array(listed, kinds[2]),
        ]
