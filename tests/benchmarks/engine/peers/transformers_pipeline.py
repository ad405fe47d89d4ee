"""transformers' own pipeline for features, as its documentation shows it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import transformers


class Contestant:
    """``pipeline("feature-extraction")``. Its outputs have their padding: the real lengths are counted beside it."""

    def prepare(self, model: Path, work: Path, threads: int) -> None:
        """Load it on the CPU."""
        torch.set_num_threads(threads)
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(model)
        self.pipeline = transformers.pipeline(
            "feature-extraction", model=str(model), tokenizer=self.tokenizer, device="cpu"
        )

    def embed(self, texts: Sequence[str], batch: int) -> npt.NDArray[np.float32]:
        """In the order in which the texts come."""
        lengths = [len(ids) for ids in self.tokenizer(list(texts), truncation=True)["input_ids"]]
        hidden = self.pipeline(list(texts), batch_size=batch, tokenize_kwargs={"truncation": True}, return_tensors=True)
        rows = [array[0, :length].float().mean(0) for array, length in zip(hidden, lengths, strict=True)]
        return torch.stack(rows).numpy()
