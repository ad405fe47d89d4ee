"""Small corpora that were read once: their runs' specs, and what a plan of them must hold."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pipelines.batching import batches
from pipelines.corpus import CorpusOptions, discover, open_corpus
from pipelines.documents import Batch, Cursor
from pipelines.features.columns import feature_fields
from pipelines.parts.plan import PlanEntry, entry_of
from pipelines.parts.run_document import RunDocument
from pipelines.parts.schema import row_schema
from pipelines.spec import Dtype, ModelRef, Pooling, RunSpec, embedding_feature

MODEL = ModelRef("m", "/m", "", "roberta", "d" * 64, "e" * 64, "f" * 64, 2, 512)
SHAPES = ((0, 2), (1, 1), (3, 2), (6, 4), (6, 2), (7, 1))
"""Lines of each corpus, and documents in a batch of it. Every fifth line cannot be read."""


@dataclass(frozen=True)
class Corpus:
    """A corpus as the run of it must see it."""

    document: RunDocument
    batches: list[Batch]
    entries: list[PlanEntry]
    end: Cursor

    @property
    def documents(self) -> list[str]:
        """The ids of what can be read."""
        return [document.id for batch in self.batches for document in batch.documents]


def make_corpora(folder: Path) -> list[Corpus]:
    """One corpus of each shape."""
    return [_make(folder / f"{lines}-{size}.jsonl", lines, size) for lines, size in SHAPES]


def _make(path: Path, lines: int, size: int) -> Corpus:
    good = (json.dumps({"id": f"doc-{number}", "text": f"text {number}"}) for number in range(lines))
    path.write_text("".join(("{broken" if number % 5 == 4 else line) + "\n" for number, line in enumerate(good)))
    corpus = discover([str(path)], CorpusOptions())
    feature = embedding_feature(MODEL, Pooling.MEAN)
    spec = RunSpec(corpus, MODEL, (feature,), 512, Dtype.FLOAT32, size)
    run = f"run-{lines}-{size}"
    document = RunDocument(run, spec.fingerprint(), "1", "2026-01-01T00:00:00Z", "100%", (path.name,), spec)
    with open_corpus(corpus) as reader:
        found = list(batches(reader, max_documents=size)) or [Batch(0, 0, [], end=reader.cursor)]
        return Corpus(document, found, [entry_of(batch) for batch in found], reader.cursor)


def schema_of(spec: RunSpec):  # type: ignore[no-untyped-def] # pyarrow has no types
    """The columns of a part."""
    return row_schema([column for feature in spec.features for column in feature_fields(feature)], spec.corpus.keep)
