"""Tokenising and nothing else: penstock's tokenizer, or the library's fastest call."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer as RawTokenizer

from pipelines.roberta.config import parse_config, read_json
from pipelines.roberta.tokenizer import Tokenizer

MAX_TOKENS = 512


class Contestant:
    """``whose`` is penstock or raw. The raw call's ids are left where the library has them: nobody reads them."""

    def __init__(self, whose: str) -> None:
        self.ours = whose == "penstock"

    def prepare(self, model: Path, work: Path, threads: int) -> None:
        """Load the files; the threads are set in the environment."""
        config = parse_config(read_json(model / "config.json"), str(model))
        self.tokenizer = Tokenizer(model, config.model_type, config.vocab_size)
        self.raw = RawTokenizer.from_file(str(model / "tokenizer.json"))
        self.raw.no_truncation()
        self.raw.no_padding()

    def embed(self, texts: Sequence[str], batch: int) -> None:
        """Tokenise, so many texts at a time."""
        for start in range(0, len(texts), batch):
            part = list(texts[start : start + batch])
            if self.ours:
                self.tokenizer.encode(part, None, MAX_TOKENS)
            else:
                self.raw.encode_batch_fast(part)

    def digests(self, texts: Sequence[str]) -> npt.NDArray[np.uint32]:
        """A checksum of each text's ids, cut to 512 tokens."""
        if self.ours:
            encoded = self.tokenizer.encode(texts, None, MAX_TOKENS)
            rows = np.split(encoded.ids, encoded.offsets[1:-1])
        else:
            self.raw.enable_truncation(MAX_TOKENS)
            rows = [np.array(encoding.ids, np.int32) for encoding in self.raw.encode_batch_fast(list(texts))]
            self.raw.no_truncation()
        return np.array([zlib.crc32(row.tobytes()) for row in rows], np.uint32)
