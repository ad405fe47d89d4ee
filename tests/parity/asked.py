"""One feature over some texts, and over what is attached to them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.documents import Batch, Document, Origin
from pipelines.extract import Extracted, Extractor, row_schema
from pipelines.spec import (
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


def extracted(
    feature: FeatureSpec,
    texts: Sequence[str],
    *,
    pairs: Sequence[dict[str, Any]] | None = None,
    max_tokens: int = 100,
    long: LongTexts | None = None,
    prefix: str = "",
    token_budget: int = 700,
) -> Extracted:
    """The rows that one feature makes of texts, and of what is attached to them."""
    attached = tuple(Attached(Role(role), role) for role in pairs[0]) if pairs else ()
    spec = RunSpec(
        CorpusSpec((), attached=attached),
        feature.model,
        (feature,),
        max_tokens,
        Dtype.FLOAT32,
        512,
        prefix=prefix,
        long=long or LongTexts(),
    )
    documents = [
        Document(str(number), text, json.dumps(pairs[number]) if pairs else None, Origin("memory", number, 0))
        for number, text in enumerate(texts)
    ]
    result = Extractor(spec, token_budget=token_budget).extract(Batch(0, 0, [*documents]))
    assert result.table.schema.equals(row_schema(spec))
    result.table.validate(full=True)
    return result


def array(table: pa.Table, column: str) -> npt.NDArray[np.float32]:
    return np.array(table[column].to_pylist(), np.float32)
