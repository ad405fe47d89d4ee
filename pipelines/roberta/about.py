"""What a checkpoint is: its sizes, its heads, and what it can be used for. No torch here."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines.roberta.checkpoint import CONFIG_FILE
from pipelines.roberta.config import EncoderConfig, parse_config, parse_labels, read_json
from pipelines.roberta.heads import Head, Kind, Use, heads_of, uses_of
from pipelines.roberta.tensors import stored_tensors
from pipelines.spec import ModelRef


@dataclass(frozen=True, slots=True)
class About:
    """A checkpoint's config, heads, uses, labels (of its classifier of texts or of tokens), and its size: numbers,
    bytes, and bytes by type.
    """

    config: EncoderConfig
    heads: tuple[Head, ...]
    uses: tuple[Use, ...]
    labels: tuple[str, ...]
    parameters: int
    nbytes: int
    dtypes: Mapping[str, int]


def about(model: ModelRef) -> About:
    """Read a pinned checkpoint. Raises InputError where a head is not whole or does not fit the encoder."""
    folder = Path(model.path)
    document = read_json(folder / CONFIG_FILE)
    config = parse_config(document, model.path)
    stored = stored_tensors(folder)
    heads = heads_of(stored, config, model.path)
    of_tokens = next((head.outputs for head in heads if head.kind is Kind.TOKENS), 0)
    labels = model.labels or (parse_labels(document, of_tokens, model.path) if of_tokens else ())
    dtypes: Counter[str] = Counter()
    for tensor in stored.values():
        dtypes[tensor.dtype] += tensor.end - tensor.begin
    parameters = sum(math.prod(tensor.shape) for tensor in stored.values())
    return About(config, heads, uses_of(heads, model.labels), labels, parameters, dtypes.total(), dict(dtypes))
