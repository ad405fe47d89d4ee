"""With ``batch_invariant`` spans and answers are the same bytes in any company."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from parity.conftest import LONG, documents
from parity.head_models import add_question_answering, add_token_classifier

from pipelines.documents import Batch
from pipelines.extract import Extractor
from pipelines.roberta.checkpoint import find
from pipelines.roberta.needed_head import token_labels
from pipelines.spec import (
    Aggregation,
    AnswerOptions,
    CorpusSpec,
    Dtype,
    FeatureSpec,
    RunSpec,
    SpansOptions,
    answer_feature,
    spans_feature,
)


def rows(feature: FeatureSpec, dtype: Dtype, texts: list[str], pairs: list[str | None] | None, budget: int) -> Any:
    """What the engine makes of texts, by text, with so large a token budget."""
    spec = RunSpec(CorpusSpec(()), feature.model, (feature,), 90, dtype, 512, batch_invariant=True)
    table = Extractor(spec, token_budget=budget).extract(Batch(0, 0, list(documents(texts, pairs)))).table
    return dict(zip(texts, table.select(feature.columns).to_pylist(), strict=True))


@pytest.mark.parametrize("dtype", [Dtype.FLOAT32, Dtype.BFLOAT16])
def test_same_bytes_in_any_company(
    dtype: Dtype, checkpoints: dict[str, tuple[Path, Path]], texts: list[str], tmp_path: Path
) -> None:
    encoder, subjects = checkpoints["roberta"][0], texts[:30]
    tagger = find(str(add_token_classifier(encoder, tmp_path / "tagger", ("O", "B-X", "I-X"))))
    reader = find(str(add_question_answering(encoder, tmp_path / "reader")))
    pairs: list[str | None] = [LONG[: 40 * number] or "x" for number in range(30)]
    for feature, contexts in (
        (spans_feature(tagger, None, SpansOptions(token_labels(tagger), Aggregation.AVERAGE)), None),
        (answer_feature(reader, None, AnswerOptions(stride=9)), pairs),
    ):
        together = rows(feature, dtype, subjects, contexts, 100_000)
        assert rows(feature, dtype, subjects, contexts, 1) == together
        backwards = contexts[::-1] if contexts else None
        assert rows(feature, dtype, subjects[::-1], backwards, 300) == together
