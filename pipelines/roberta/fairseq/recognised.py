"""Whether a path looks like a checkpoint of fairseq, for who names one where a model's folder is wanted."""

from __future__ import annotations

from pathlib import Path

from pipelines.roberta.fairseq.archive import MODEL_NAMES

_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def looks_like_fairseq(path: Path) -> bool:
    """By names alone, nothing is opened: model.pt, its archive, or a folder that has it, there or one level down."""
    if not path.is_dir():
        return path.name.endswith((".pt", *_ARCHIVES))
    found = [*path.glob("*.pt"), *path.glob("*/*.pt")]
    return any(file.name in MODEL_NAMES or (file.parent / "dict.txt").is_file() for file in found)
