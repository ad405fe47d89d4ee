"""In what two specs differ, for a person who asked for one and found the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipelines.spec.features import FeatureSpec
from pipelines.spec.options import EmbeddingOptions
from pipelines.spec.run import RunSpec, to_json


def difference(there: RunSpec, asked: RunSpec) -> str:
    """The first thing in which two specs differ, for a person."""
    files, wanted = ([shard.name for shard in spec.corpus.shards] for spec in (there, asked))
    if files != wanted:
        return f"it reads {_listed(files)}, asked for was {_listed(wanted)}"
    if there.model.digest != asked.model.digest:
        changed = " with other content" if there.model.source == asked.model.source else ""
        return f"its model is {there.model.source}, asked for was {asked.model.source}{changed}"
    features, others = ([_described(feature) for feature in spec.features] for spec in (there, asked))
    if features != others:
        return f"it computes {_listed(features)}, asked for was {_listed(others)}"
    old, new = _flat(to_json(there)), _flat(to_json(asked))
    for key in dict.fromkeys([*old, *new]):
        if key.endswith((".uri", ".mtime_ns", ".size", ".path", ".source", ".revision")):
            continue
        if old.get(key) != new.get(key):
            return f"its {key} is {_shown(old.get(key))}, asked for was {_shown(new.get(key))}"
    return "its spec differs"


def _described(feature: FeatureSpec) -> str:
    if isinstance(feature.options, EmbeddingOptions):
        layers = "" if feature.options.layers == (-1,) else f" of layers {', '.join(map(str, feature.options.layers))}"
        return f"{feature.options.pooling} embedding{layers}"
    return f"{feature.columns[0]} by {feature.model.source}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5:,} more" if len(names) > 6 else ""
    return ", ".join(names[:5] if more else names) + more


def _shown(value: Any) -> str:
    return "not set" if value is None else repr(str(value)) if isinstance(value, str) else str(value)


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """A nested JSON value as dotted keys."""
    if isinstance(value, dict):
        pairs = [(f"{prefix}.{key}" if prefix else str(key), item) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        pairs = [(f"{prefix}[{index}]", item) for index, item in enumerate(value)]
    else:
        return {prefix: value}
    return {key: leaf for name, item in pairs for key, leaf in _flat(item, name).items()}
