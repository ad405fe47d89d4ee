"""What fits the ``<mask>`` of a text best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F  # noqa: N812 (torch calls it so)

from pipelines.features.columns import feature_fields
from pipelines.features.protocol import Values
from pipelines.readings.inputs import Rows
from pipelines.readings.mask_texts import fill
from pipelines.roberta.lm_head import AT_ONCE, LMHead
from pipelines.roberta.packing import on_device
from pipelines.roberta.pieces import Pieces
from pipelines.roberta.states import LAST_TOKENS, States
from pipelines.roberta.tokenizer import Tokenizer
from pipelines.spec import FeatureSpec, FillMaskOptions


class Fills:
    """The most probable tokens, the best first: each with its blank, its probability, and the text with it.

    The softmax is over the whole vocabulary; special tokens stand under their names.
    """

    needs = LAST_TOKENS

    def __init__(
        self, spec: FeatureSpec, device: torch.device, tokenizer: Tokenizer, *, batch_invariant: bool = False
    ) -> None:
        assert isinstance(spec.options, FillMaskOptions)
        self.spec = spec
        self._count = spec.options.count
        self._pieces = Pieces(tokenizer)
        self._head = LMHead.load(spec.model, device, batch_invariant=batch_invariant)
        self.nbytes = self._head.nbytes

    def fields(self) -> list[pa.Field]:
        return feature_fields(self.spec)

    def compute(self, states: States, notes: Sequence[Any]) -> tuple[Values, ...]:
        starts = states.packing.cu_seqlens[:-1].long()
        masks = states.tokens()[starts + on_device(np.array(notes, np.int64), starts.device)]
        best = []
        for some in torch.split(masks, AT_ONCE):
            probabilities = F.softmax(self._head.logits(some), dim=-1)
            best.append(probabilities.topk(min(self._count, probabilities.shape[1])))
        tokens = torch.cat([one.indices for one in best]).to(torch.int32)
        return tokens, torch.cat([one.values for one in best])

    def columns(self, values: Sequence[Values], rows: Rows) -> list[pa.Array]:
        ids, probabilities = values
        names = {number: self._pieces.text_or_name(number) for number in np.unique(ids).tolist()}
        tokens = [[names[number] for number in row] for row in ids.tolist()]
        texts = [fill(one.text, token) for one, row in zip(rows.inputs, tokens, strict=True) for token in row]
        parts = [
            pa.array([token for row in tokens for token in row], pa.string()),
            pa.array(probabilities.reshape(-1), pa.float32()),
            pa.array(texts, pa.string()),
        ]
        (field,) = self.fields()
        structs = pa.StructArray.from_arrays(parts, fields=list(field.type.value_type))
        offsets = np.arange(len(ids) + 1, dtype=np.int32) * ids.shape[1]
        return [pa.ListArray.from_arrays(pa.array(offsets), structs, type=field.type)]
