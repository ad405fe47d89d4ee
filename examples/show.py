"""Show what a run has made: how many rows, which columns, the first rows, and where the dataset is.

    python examples/show.py DIR [--rows N]

Any Parquet reader does; this one needs pyarrow only.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds


def shown(value: Any) -> str:
    """A value in one short line: long vectors and texts are cut."""
    if isinstance(value, bytes):
        return value.hex()[:12] + "…"
    if isinstance(value, list):
        first = ", ".join(f"{number:+.3f}" for number in value[:4])
        return f"[{first}{', …' if len(value) > 4 else ''}] ({len(value)} numbers)"
    text = " ".join(str(value).split())
    return text if len(text) <= 72 else text[:71] + "…"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder given to --out")
    parser.add_argument("--rows", type=int, default=3, help="how many of the first rows to print")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    dataset = ds.dataset(folder / "data", format="parquet")
    width = max(len(name) for name in dataset.schema.names)
    for row in dataset.head(arguments.rows).to_pylist():
        for name, value in row.items():
            print(f"  {name:<{width}}  {shown(value)}")
        print()
    manifest = folder / "_manifest.json"
    quarantined = json.loads(manifest.read_text())["quarantined"] if manifest.is_file() else "?"
    print(f"{dataset.count_rows():,} rows, {quarantined} quarantined, columns: {', '.join(dataset.schema.names)}")
    print(f"The dataset is {folder.resolve() / 'data'} (plain Parquet; point any reader at that folder).")


if __name__ == "__main__":
    main()
