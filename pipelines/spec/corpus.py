"""The files that a run reads, and how their columns become documents."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa


class Format(StrEnum):
    """How a file of the corpus is read."""

    AUTO = "auto"
    JSONL = "jsonl"
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"
    ARROW = "arrow"
    TEXT = "text"


def arrow_type(name: str) -> pa.DataType:
    """The Arrow type that a name of :func:`arrow_type_name` stands for. Raises ValueError for any other name."""
    if name == "json":
        return pa.string()
    if name.startswith("arrow:"):
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(name[6:]))).field(0).type
    return pa.type_for_alias(name)


def arrow_type_name(dtype: pa.DataType) -> str:
    """A name for any Arrow type that survives JSON: the alias where Arrow has one, else the serialised type."""
    try:
        if pa.type_for_alias(str(dtype)) == dtype:
            return str(dtype)
    except ValueError:
        pass
    return "arrow:" + base64.b64encode(pa.schema([pa.field("", dtype)]).serialize()).decode()


@dataclass(frozen=True, slots=True)
class KeptColumn:
    """A column of the corpus that goes into the dataset: source column, Arrow type (by name), name in the dataset.

    Type ``json`` is JSON text of any value, stored as a string.
    """

    column: str
    type: str
    name: str

    @property
    def field(self) -> pa.Field:
        return pa.field(self.name, arrow_type(self.type))


@dataclass(frozen=True, slots=True)
class Shard:
    """One input file. ``name`` is its path relative to its CORPUS argument and the stem of the ids made from it.

    ``compression`` is ``none``, ``gzip``, ``zstd``, ``bz2`` or ``xz``; size in bytes, mtime in nanoseconds.
    """

    uri: str
    name: str
    format: Format
    compression: str
    size: int
    mtime_ns: int


class Role(StrEnum):
    """What an attached column is to a feature."""

    CHOICES = "choices"
    CONTEXT = "context"
    CANDIDATES = "candidates"


@dataclass(frozen=True, slots=True)
class Attached:
    """A column whose values travel with the documents for a feature, and what they are to it."""

    role: Role
    column: str


@dataclass(frozen=True, slots=True)
class CorpusSpec:
    """The files that a run reads, in order, and how their columns become documents.

    With ``attached`` columns the pair of each document is no sentence but a JSON object: their values by role.
    """

    shards: tuple[Shard, ...]
    text_columns: tuple[str, ...] = ("text",)
    pair_column: str | None = None
    id_column: str | None = "id"
    keep: tuple[KeptColumn, ...] = ()
    header: bool = True
    whole_files: bool = False
    encoding: str = "utf-8"
    limit: int | None = None
    attached: tuple[Attached, ...] = ()

    @property
    def used_columns(self) -> tuple[str, ...]:
        """The columns that are read, each once."""
        others = (self.pair_column, self.id_column, *(kept.column for kept in self.keep))
        named = (*self.text_columns, *(name for name in others if name is not None))
        return tuple(dict.fromkeys((*named, *(one.column for one in self.attached))))
