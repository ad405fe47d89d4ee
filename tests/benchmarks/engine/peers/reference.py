"""What all outputs are compared with: transformers in fp32, one document at a time, nothing filled up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModel, AutoTokenizer


class Contestant:
    """Plain RobertaModel."""

    def prepare(self, model: Path, work: Path, threads: int) -> None:
        """Load it."""
        torch.set_num_threads(threads)
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.model = AutoModel.from_pretrained(model, add_pooling_layer=False, dtype=torch.float32).eval()

    @torch.inference_mode()
    def embed(self, texts: Sequence[str], batch: int) -> npt.NDArray[np.float32]:
        """The mean of each document's tokens."""
        vectors = []
        for text in texts:
            inputs = self.tokenizer(text, truncation=True, return_tensors="pt")
            vectors.append(self.model(**inputs).last_hidden_state[0].mean(0))
        return torch.stack(vectors).numpy()

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """How many tokens of each text are computed, special ones included."""
        return [len(ids) for ids in self.tokenizer(list(texts), truncation=True)["input_ids"]]
