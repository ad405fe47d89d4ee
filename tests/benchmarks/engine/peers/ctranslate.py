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
        self.place, self.threads, self.encoder = place, threads, None
        self._open(1)

    def embed(self, texts: Sequence[str], batch: int, streams: int = 1) -> npt.NDArray[np.float32]:
        """Mean-pooled vectors."""
        if streams != self.streams:
            self._open(streams)
        return padding.pooled(padding.token_ids(self.tokenizer, texts), batch, streams, self._hidden)

    def _open(self, streams: int) -> None:
        """One worker on all threads, or several of one thread: each takes a batch at a time, they share the weights."""
        self.encoder = None  # gone before the next one comes: the weights are in memory once
        self.streams = streams
        self.encoder = ctranslate2.Encoder(
            str(self.place),
            device="cpu",
            compute_type=self.compute,
            inter_threads=streams,
            intra_threads=self.threads if streams == 1 else 1,
        )

    def _hidden(self, rows: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        return np.array(self.encoder.forward_batch(rows).last_hidden_state)
