"""One feature over some texts, and over what is attached to them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.assembly import Extracted
from pipelines.documents import Batch, Document, Origin
from pipelines.extract import Extractor, row_schema
from pipelines.spec import (
    TRUNCATED,
    Attached,
    CorpusSpec,
    Dtype,
    FeatureSpec,
    LongTexts,
    Role,
    RunSpec,
)

TOLERANCE = 1e-5
MODEL_TYPES = ("roberta", "xlm-roberta", "camembert")


def asked_spec(
    feature: FeatureSpec,
    *,
    roles: Iterable[str] = (),
    max_tokens: int = 100,
    long: LongTexts = TRUNCATED,
    prefix: str = "",
) -> RunSpec:
    """A run of one feature over a corpus with such columns attached."""
    corpus = CorpusSpec((), attached=tuple(Attached(Role(role), role) for role in roles))
    return RunSpec(corpus, feature.model, (feature,), max_tokens, Dtype.FLOAT32, 512, prefix=prefix, long=long)


def asked_documents(texts: Sequence[str], pairs: Sequence[dict[str, Any]] | None = None) -> list[Document]:
    """Documents with what is attached to them."""
    return [
        Document(str(number), text, json.dumps(pairs[number]) if pairs else None, Origin("memory", number, 0))
        for number, text in enumerate(texts)
    ]


def extracted(
    feature: FeatureSpec, texts: Sequence[str], *, pairs: Sequence[dict[str, Any]] | None = None, **options: Any
) -> Extracted:
    """The rows that one feature makes of texts, and of what is attached to them."""
    spec = asked_spec(feature, roles=pairs[0] if pairs else (), **options)
    result = Extractor(spec, token_budget=700).extract(Batch(0, 0, [*asked_documents(texts, pairs)]))
    assert result.table.schema.equals(row_schema(spec))
    result.table.validate(full=True)
    return result


def array(table: pa.Table, column: str) -> npt.NDArray[np.float32]:
    return np.array(table[column].to_pylist(), np.float32)
