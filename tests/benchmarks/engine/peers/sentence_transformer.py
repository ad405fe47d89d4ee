"""sentence-transformers: its encode() sorts by length and fills up each batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers import SentenceTransformer, models


class Contestant:
    """A transformer and a mean over its tokens, in ``dtype``."""

    def __init__(self, dtype: str) -> None:
        self.dtype = getattr(torch, dtype)

    def prepare(self, model: Path, work: Path, threads: int) -> None:
        """Build it from its modules."""
        torch.set_num_threads(threads)
        transformer = models.Transformer(str(model), model_kwargs={"dtype": self.dtype})
        transformer.max_seq_length = 512
        pooling = models.Pooling(transformer.get_embedding_dimension(), pooling_mode="mean")
        self.model = SentenceTransformer(modules=[transformer, pooling], device="cpu")

    def embed(self, texts: Sequence[str], batch: int) -> npt.NDArray[np.float32]:
        """Its encode()."""
        vectors = self.model.encode(list(texts), batch_size=batch, show_progress_bar=False, convert_to_tensor=True)
        return vectors.float().numpy()
