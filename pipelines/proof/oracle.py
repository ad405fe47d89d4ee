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
from pipelines.spec import ModelRef, Pooling

_QUIET = 100


@dataclass(frozen=True, slots=True)
class Computed:
    """A document by the oracle. *Shape:* hidden ``[tokens, hidden]``; probabilities ``[classes]``, empty without."""

    hidden: Vector
    probabilities: Vector

    def pooled(self, pooling: Pooling) -> Vector:
        """The embedding of the document. *Shape:* ``[hidden]``."""
        if pooling is Pooling.CLS:
            vector: Vector = self.hidden[0]
        else:
            vector = self.hidden.mean(axis=0) if pooling is Pooling.MEAN else self.hidden.max(axis=0)
        return vector


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

    def ids(self, text: str, pair: str | None, max_tokens: int) -> list[int]:
        """The ids of a document, special tokens included, cut to ``max_tokens``; of a pair the longer side first."""
        found = self._tokenizer(text, pair, truncation="longest_first", max_length=max_tokens)["input_ids"]
        return list(found)


class Oracle:
    """A checkpoint as transformers loads it, with its classifier or without."""

    def __init__(self, model: ModelRef, *, classifies: bool) -> None:
        transformers.logging.set_verbosity(_QUIET)
        options: dict[str, Any] = {
            "attn_implementation": "eager",
            "chunk_size_feed_forward": 0,  # only how transformers cuts its work, and then not every length fits
            "dtype": torch.float32,
            "local_files_only": True,
            "trust_remote_code": False,
            "use_safetensors": True,
        }
        if classifies:
            options["num_labels"] = len(model.labels)
        kind = transformers.AutoModelForSequenceClassification if classifies else transformers.AutoModel
        self._model = kind.from_pretrained(model.path, **options).eval()
        self._classifies = classifies

    def compute(self, ids: list[int]) -> Computed:
        """Forward one document alone."""
        with torch.inference_mode():
            output = self._model(input_ids=torch.tensor([ids]), output_hidden_states=True)
            hidden: Vector = output.hidden_states[-1][0].numpy()
            if not self._classifies:
                return Computed(hidden, np.empty(0, np.float32))
            probabilities: Vector = torch.softmax(output.logits[0], -1).numpy()
        return Computed(hidden, probabilities)
