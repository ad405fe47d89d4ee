"""What plain transformers' own heads say of a row of ids: classifiers, multiple choice, masked language models.

Only the proof's own process imports this file: it loads torch and transformers.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import transformers

from pipelines.proof.compare import Vector
from pipelines.proof.oracle import LOADING
from pipelines.roberta.heads import Kind
from pipelines.spec import ModelRef

_CLASSES = {
    Kind.SEQUENCE: transformers.AutoModelForSequenceClassification,
    Kind.CHOICES: transformers.AutoModelForMultipleChoice,
    Kind.LANGUAGE_MODEL: transformers.AutoModelForMaskedLM,
}


class HeadOracle:
    """A checkpoint as transformers loads it with a head."""

    def __init__(self, model: ModelRef, kind: Kind) -> None:
        options = {"num_labels": len(model.labels) or 1} if kind is Kind.SEQUENCE else {}
        self._model = _CLASSES[kind].from_pretrained(model.path, **LOADING, **options).eval()
        self._kind = kind

    def logits(self, ids: list[int]) -> Vector:
        """*Shape:* ``[classes]``; ``[1]`` of a choice; of a language model ``[tokens, vocabulary]``."""
        row = torch.tensor([[ids]] if self._kind is Kind.CHOICES else [ids])
        with torch.inference_mode():
            found: Vector = self._model(input_ids=row).logits[0].numpy()
        return found


@lru_cache(maxsize=4)
def head_oracle(model: ModelRef, kind: Kind) -> HeadOracle:
    """The oracle of a checkpoint's head, loaded once."""
    return HeadOracle(model, kind)
