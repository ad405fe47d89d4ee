"""A look into the files before a run: which columns there are, and what types the kept ones have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from pipelines.corpus import columnar, delimited, jsonl, plain
from pipelines.corpus.arrow_values import ARROW_ERRORS, plain_type
from pipelines.corpus.detection import COLUMNAR
from pipelines.corpus.dotted import dotted, dotted_type, with_dotted
from pipelines.corpus.evidence import shown
from pipelines.corpus.keep import KeepOption, json_kind, json_type
from pipelines.corpus.options import CorpusOptions
from pipelines.errors import InputError
from pipelines.spec import Format, KeptColumn, Shard, arrow_type, arrow_type_name

COLUMN_DOCUMENTS = 1_000
"""JSON documents that are searched for columns."""

TYPE_DOCUMENTS = 10_000
"""JSON documents that decide the types of kept columns."""

_SCHEMA_FILES = 1_000
_SAMPLE_BYTES = 256 * 2**20
_SHOWN_COLUMNS = 30
_SHOWN_CHARACTERS = 100


@dataclass
class Survey:
    """What was found: the columns in order, the types that schemas and headers give them, and kinds of JSON values."""

    columns: dict[str, None] = field(default_factory=dict)
    types: dict[str, dict[str, str]] = field(default_factory=dict)
    kinds: dict[str, set[str]] = field(default_factory=dict)
    documents: int = 0
    size: int = 0

    def note(self, column: str, type_name: str, uri: str) -> None:
        """A column that a file declares with a type."""
        self.columns.setdefault(column)
        self.types.setdefault(column, {}).setdefault(type_name, uri)


def survey(shards: Sequence[Shard], options: CorpusOptions) -> Survey:
    """Look at headers and schemas of the first 1,000 files and at the first JSON documents.

    Raises InputError for a CSV file without a readable header, and for one that names a used column twice.
    """
    found = Survey()
    untyped = [option.column for option in options.keep if option.type is None]
    used = {*options.text_columns, *options.named_columns}
    for number, shard in enumerate(shards):
        if shard.format is Format.JSONL:
            _survey_jsonl(found, shard, options.encoding, untyped, dotted(used))
        elif number < _SCHEMA_FILES:
            _survey_declared(found, shard, options, used)
    return found


def check_columns(found: Survey, options: CorpusOptions) -> None:
    """Raises InputError for a named column that is nowhere, and for a corpus without the default text column.

    Where no column at all could be seen (no documents, or none that can be read) there is nothing to compare with.
    """
    if not found.columns:
        return
    there = f"There are: {_listed(found.columns)}."
    for name in options.named_columns:
        if name not in found.columns:
            raise InputError(f"The corpus has no column {name!r}.", there)
    if not any(name in found.columns for name in options.text_columns):
        raise InputError("The corpus has no column 'text'; name another with --text-column.", there)


def kept_columns(found: Survey, options: CorpusOptions) -> tuple[KeptColumn, ...]:
    """The kept columns with their types fixed. Raises InputError where files disagree or Arrow cannot build one."""
    return tuple(
        KeptColumn(option.column, option.type or _found_type(found, option), option.name or option.column)
        for option in options.keep
    )


def _survey_jsonl(found: Survey, shard: Shard, encoding: str, untyped: Sequence[str], inside: Sequence[str]) -> None:
    wanted = TYPE_DOCUMENTS if untyped else COLUMN_DOCUMENTS
    if found.documents >= wanted or found.size >= _SAMPLE_BYTES:
        return
    for values, size in jsonl.sample(shard, encoding):
        found.documents += 1
        found.size += size
        if values is not None:
            row = with_dotted(values, inside)
            if found.documents <= COLUMN_DOCUMENTS:
                found.columns.update(dict.fromkeys(row))
            for column in untyped:
                found.kinds.setdefault(column, set()).add(json_kind(row.get(column)))
            del row
        del values  # before the next line is parsed: both can be large
        if found.documents >= wanted or found.size >= _SAMPLE_BYTES:
            return


def _survey_declared(found: Survey, shard: Shard, options: CorpusOptions, used: set[str]) -> None:
    if shard.format is Format.TEXT:
        found.note(plain.COLUMN, "string", shard.uri)
        return
    if shard.format in COLUMNAR:
        schema = columnar.schema(shard)
        declared = [] if schema is None else [(entry.name, plain_type(entry.type)) for entry in schema]
        names = [name for name, _ in declared]
        for name, dtype in declared:
            found.note(name, arrow_type_name(dtype), shard.uri)
        for name in dotted(used - set(names)):
            inside = None if schema is None else dotted_type(schema, name)
            if inside is not None:
                found.note(name, arrow_type_name(inside), shard.uri)
    else:
        try:
            names = list(delimited.header(shard, options.encoding, options.header)[0])
        except delimited.BadHeaderError as error:
            raise InputError(f"{shown(shard.uri)}: {error}.", "Check --format, --encoding and --no-header.") from error
        for name in names:
            found.note(name, "string", shard.uri)
    for name in names:
        if name in used and names.count(name) > 1:
            raise InputError(
                f"{shown(shard.uri)} has {names.count(name)} columns called {name!r}.", "Rename all but one."
            )


def _found_type(found: Survey, option: KeepOption) -> str:
    types = dict(found.types.get(option.column, {}))
    kinds = found.kinds.get(option.column, set()) - {""}
    if kinds or not types:
        types.setdefault(json_type(kinds), "JSON documents")
    if len(types) == 1:
        name = next(iter(types))
        _check_buildable(option.column, name)
        return name
    try:
        fields = [pa.schema([pa.field("", arrow_type(name))]) for name in types if name != "json"]
        if len(fields) == len(types):
            return arrow_type_name(pa.unify_schemas(fields, promote_options="permissive").field(0).type)
    except ARROW_ERRORS:
        pass
    said = "; ".join(f"{shown(name)[:40]} in {shown(uri)}" for name, uri in list(types.items())[:2])
    raise InputError(
        f"Column {option.column!r} has different types: {said}.",
        f"Choose one, for example --keep {option.column}:json or --keep {option.column}:string",
    )


def _check_buildable(column: str, type_name: str) -> None:
    try:
        pa.array([None], type=arrow_type(type_name))
    except ARROW_ERRORS as error:
        message = f"Column {column!r} has a type that cannot be kept ({arrow_type(type_name)})."
        raise InputError(message, f"Keep it as JSON text: --keep {column}:json") from error


def _listed(columns: dict[str, None]) -> str:
    names = list(columns)
    more = f" and {len(names) - _SHOWN_COLUMNS} more" if len(names) > _SHOWN_COLUMNS else ""
    return ", ".join(shown(name)[:_SHOWN_CHARACTERS] for name in names[:_SHOWN_COLUMNS]) + more
