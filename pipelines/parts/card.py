"""The dataset card: what is in the folder, for people and for ``datasets.load_dataset``, which finds data/ by it."""

from __future__ import annotations

import pyarrow as pa

from pipelines.parts.meanings import column_meanings
from pipelines.parts.run_document import RunDocument
from pipelines.parts.summary import Summary
from pipelines.spec import RunSpec

_FRONT = """---
configs:
- config_name: default
  data_files: data/*.parquet
---
"""


def card(document: RunDocument, summary: Summary, schema: pa.Schema | None) -> bytes:
    """The text of README.md; ``schema`` is None for a dataset without parts."""
    spec = document.spec
    meanings = _meanings(spec)
    types = {field.name: str(field.type).replace("item: ", "") for field in schema} if schema is not None else {}
    columns = [
        f"| `{_cell(name)}` | {_cell(types.get(name, ''))} | {_cell(meanings[name])} |" for name in spec.column_names
    ]
    lines = [
        f"{_FRONT}# Dataset of run {document.run}",
        "",
        f"Rows: {summary.rows:,}. Documents read: {summary.documents:,}, of which {summary.quarantined:,} in quarantine"
        f" and {summary.dead_letter_documents:,} in dead letters. Parquet files: {summary.parts:,},"
        f" {summary.bytes:,} bytes in all, written by penstock {document.code_version}.",
        "",
        "| Column | Type | Meaning |",
        "|---|---|---|",
        *columns,
        "",
        f"At most {spec.max_tokens} tokens of each document were used, computed in {spec.dtype}."
        f" Longer documents: {summary.truncated:,}. Rows with the id of an earlier row: {summary.duplicate_ids:,}.",
        "",
        "## Reading it",
        "",
        "The rows are all the files in `data/`, in corpus order. Point readers there, not at this folder.",
        "",
        "```sql",
        "SELECT * FROM read_parquet('data/*.parquet') LIMIT 5;  -- DuckDB",
        "```",
        "",
        "```python",
        'polars.read_parquet("data")',
        'datasets.load_dataset(".", split="train")',
        "```",
        "",
        "Every file's footer says how it was made, under keys that begin with `penstock.`.",
    ]
    return ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")


def _meanings(spec: RunSpec) -> dict[str, str]:
    found = {
        "id": "the document's id",
        "n_tokens": "tokens of the document, special tokens included",
        "n_used": "of these, tokens that were used",
        "n_windows": f"windows of at most {spec.max_tokens} tokens that it was read in",
        "input_digest": "BLAKE2b-128 of the exact text",
    }
    for feature in spec.features:
        found |= column_meanings(feature)
    return found | {kept.name: f"`{kept.column}` of the corpus" for kept in spec.corpus.keep}


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
