"""CTranslate2: its own converter and encoder, which leaves padding out; ids in, token vectors out."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import ctranslate2
import numpy as np
import numpy.typing as npt
from benchmarks.engine.peers import padding
from ctranslate2.converters import TransformersConverter
from transformers import RobertaConfig


class Contestant:
    """``compute`` is a compute type of CTranslate2."""

    def __init__(self, compute: str) -> None:
        self.compute = compute

    def prepare(self, model: Path, work: Path, threads: int) -> None:
        """Convert once; the weights are brought into the compute type when they are loaded."""
        there = ctranslate2.get_supported_compute_types("cpu")
        if self.compute not in there:
            raise ValueError(f"CTranslate2 computes {', '.join(sorted(there))} on this CPU")
        self.tokenizer = padding.fast_tokenizer(model)
        place, unfinished = work / "ctranslate2", work / "unfinished-ctranslate2"
        if not place.exists():
            RobertaConfig.position_embedding_type = "absolute"  # the converter asks for what transformers 5 dropped
            TransformersConverter(str(model)).convert(str(unfinished), force=True)
            shutil.move(unfinished, place)
        self.encoder = ctranslate2.Encoder(
            str(place), device="cpu", compute_type=self.compute, intra_threads=threads, inter_threads=1
        )

    def embed(self, texts: Sequence[str], batch: int) -> npt.NDArray[np.float32]:
        """Mean-pooled vectors."""
        rows = padding.token_ids(self.tokenizer, texts)
        vectors: list[npt.NDArray[np.float32]] = [np.empty(0, np.float32)] * len(rows)
        for group in padding.sorted_groups(rows, batch):
            part = [rows[index] for index in group]
            hidden = np.array(self.encoder.forward_batch(part).last_hidden_state)
            _, mask = padding.rectangle(part)
            for index, vector in zip(group, padding.mean(hidden, mask), strict=True):
                vectors[index] = vector
        return np.stack(vectors)
