"""penstock's engine: the extractor on batches of documents, without queue or Parquet."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from pipelines.corpus import CorpusOptions
from pipelines.documents import Batch, Document, Origin
from pipelines.extract import Extractor
from pipelines.opening import Request, make_spec
from pipelines.spec import Dtype, Pooling

HEADS = 3


class Contestant:
    """``answers`` is ``one`` (a mean embedding) or ``many``: three embeddings and three classifiers."""

    def __init__(self, dtype: str, answers: str = "one") -> None:
        self.dtype, self.many = Dtype(dtype), answers == "many"

    def prepare(self, model: Path, work: Path, threads: int) -> None:
        """Load the model as a run does; of the corpus only the spec is needed."""
        torch.set_num_threads(threads)
        with tempfile.TemporaryDirectory() as folder:
            corpus = Path(folder) / "corpus.jsonl"
            corpus.write_text(json.dumps({"id": "0", "text": "a"}) + "\n", encoding="utf-8")
            spec = make_spec(
                Request(
                    (str(corpus),),
                    CorpusOptions(),
                    str(model),
                    self.dtype,
                    batch_documents=512,
                    embed=tuple(Pooling) if self.many else (Pooling.MEAN,),
                    classify=tuple(f"head{number}=self" for number in range(HEADS)) if self.many else (),
                )
            )
        self.column = "embedding_mean" if self.many else "embedding"
        self.extractor = Extractor(dataclasses.replace(spec, corpus=dataclasses.replace(spec.corpus, keep=())))

    def embed(self, texts: Sequence[str], batch: int) -> npt.NDArray[np.float32]:
        """Vectors out of the Arrow tables of the batches."""
        origin, vectors = Origin("made-up", 0, 0), []
        for start in range(0, len(texts), batch):
            items = [
                Document(str(number), text, None, origin)
                for number, text in enumerate(texts[start : start + batch], start)
            ]
            extracted = self.extractor.extract(Batch(start // batch, start, items))
            column = extracted.table.column(self.column).combine_chunks()
            vectors.append(column.flatten().to_numpy().reshape(len(items), -1))
        return np.concatenate(vectors)
