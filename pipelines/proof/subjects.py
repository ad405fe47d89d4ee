"""The sampled documents with what the parts say of them: rows read from the parts, texts read again by the plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.documents import Document, input_digest
from pipelines.errors import UnfaithfulError
from pipelines.parts.footer import read_footer
from pipelines.parts.layout import part_name
from pipelines.parts.store import Store, storage
from pipelines.planning import Planner
from pipelines.proof.sample import sampled_rows
from pipelines.spec import RunSpec

MAX_TEXT_CHARACTERS = 2**20
"""Of a longer text plain transformers would tokenise all at once, in a hundred times its memory."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One document to prove: its texts, and its row as Python values by column. ``where`` names both in a message."""

    document: Document
    row: dict[str, Any]
    where: str


def subjects(
    store: Store, spec: RunSpec, fingerprint: str, batches: Sequence[int], documents: int,
    *, reads_alike: Callable[[str, str | None], bool],
) -> Iterator[Subject]:  # fmt: skip
    """The documents to prove, spread over the batches; ``reads_alike`` says which the oracle can be asked about.

    Raises CorpusChangedError where a batch cannot be read as it was planned, UnfaithfulError where a row is of no text
    of its batch.
    """
    planner = Planner(store, spec)
    try:
        for place, batch in enumerate(batches):
            share = documents // len(batches) + (place < documents % len(batches))
            texts: dict[tuple[str, bytes], Document] = {}
            for document in planner.read(planner.plan.entry(batch)).documents:
                texts.setdefault((document.id, input_digest(document.text, document.pair)), document)
            made = _batch_subjects(store, spec, fingerprint, batch, texts)
            fit = (one for one in made if _is_short(one.document) and reads_alike(*_texts(spec, one.document)))
            yield from islice(fit, share)
    finally:
        planner.close()


def _value(scalar: pa.Scalar) -> Any:
    """A cell as Python has it; a list of vectors, which may be many, as an array ``[count, width]`` of float32."""
    if not pa.types.is_list(scalar.type) or not pa.types.is_fixed_size_list(scalar.type.value_type):
        return scalar.as_py()
    numbers = scalar.values.flatten().to_numpy(zero_copy_only=False)
    return numbers.reshape(-1, scalar.type.value_type.list_size).astype(np.float32)


def _texts(spec: RunSpec, document: Document) -> tuple[str, str | None]:
    return spec.prefix + document.text, document.pair


def _is_short(document: Document) -> bool:
    return len(document.text) + len(document.pair or "") <= MAX_TEXT_CHARACTERS


def _batch_subjects(
    store: Store, spec: RunSpec, fingerprint: str, batch: int, texts: dict[tuple[str, bytes], Document]
) -> Iterator[Subject]:
    columns = ["id", "n_used", "input_digest", *(column for feature in spec.features for column in feature.columns)]
    path = store.path(part_name(batch))
    with storage("read", path), pq.ParquetFile(path) as file:
        used = file.read(columns=["n_used"])["n_used"].to_pylist()
        starts = np.cumsum([0, *(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))])
        footer = read_footer(store, batch)
        group, table = -1, pa.table({})
        for row in sampled_rows(fingerprint, batch, used):
            there = int(np.searchsorted(starts, row, side="right")) - 1
            if there != group:
                group, table = there, file.read_row_group(there, columns=columns)
            place = row - int(starts[group])
            values = {name: _value(table[name][place]) for name in columns}
            where = f"{values['id']!r} (batch {batch}, {spec.dtype}, by {footer.slot} of {footer.host})"
            document = texts.get((values["id"], values["input_digest"]))
            if document is None:
                raise UnfaithfulError(f"The row {where} is of no document of its batch.")
            yield Subject(document, values, where)
