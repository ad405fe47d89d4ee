"""From CORPUS arguments to the files, formats and columns of a run: all that can be refused is refused here."""

from __future__ import annotations

import os
from collections.abc import Sequence

from pipelines.corpus.columns import check_columns, kept_columns, survey
from pipelines.corpus.detection import check_readable, compression_of, format_of, suffix_format
from pipelines.corpus.evidence import shown
from pipelines.corpus.expansion import CorpusFile, expand
from pipelines.corpus.options import CorpusOptions
from pipelines.errors import InputError, UsageError
from pipelines.spec import CorpusSpec, Format, Shard


def discover(arguments: Sequence[str], options: CorpusOptions) -> CorpusSpec:
    """The corpus that the arguments name, in their order; how each is expanded, see :func:`expansion.expand`.

    Raises UsageError for options that contradict each other; InputError for a file that is missing or unreadable,
    mixed formats in one argument, and columns that are not there.
    """
    options.check()
    if not arguments:
        raise UsageError("No corpus is given, wanted at least one file, folder or glob.")
    shards = tuple(shard for argument in arguments for shard in _argument_shards(argument, options))
    try:
        found = survey(shards, options)
    except OSError as error:
        raise _unreadable(error, "A file of the corpus") from error
    check_columns(found, options)
    return CorpusSpec(
        shards=shards,
        text_columns=options.text_columns,
        pair_column=options.pair_column,
        id_column=options.id_column if options.id_column is not None else "id",
        keep=kept_columns(found, options),
        header=options.header,
        whole_files=options.whole_files,
        encoding=options.encoding,
        limit=options.limit,
        attached=options.attached,
    )


def _argument_shards(argument: str, options: CorpusOptions) -> list[Shard]:
    try:
        files = expand(argument)
        chosen = Format.TEXT if options.whole_files else options.format
        if options.format is not Format.AUTO:
            files = _picked(files, options.format)
        shards = [_shard(file, chosen, options.encoding) for file in files]
    except OSError as error:
        raise _unreadable(error, argument) from error
    first = shards[0]
    for shard in shards:
        if shard.format is not first.format:
            kinds = f"{shown(first.name)} is {first.format}, {shown(shard.name)} is {shard.format}"
            raise InputError(
                f"{shown(argument)} mixes formats: {kinds}.",
                "Pick one with --format, or give the files as arguments of their own.",
            )
    return shards


def _unreadable(error: OSError, name: str) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError(
            f"{shown(error.filename or name)} is gone since the corpus was listed.", "Put it back, or start again."
        )
    return InputError(
        f"{shown(error.filename or name)} cannot be read: {error.strerror or error}.", "Check its permissions."
    )


def _picked(files: list[CorpusFile], format_: Format) -> list[CorpusFile]:
    """Of files whose suffixes name several formats, those of this one; a suffix that names none may be any."""
    picked = [file for file in files if suffix_format(file.path) in (format_, None)]
    return picked or files


def _shard(file: CorpusFile, format_: Format, encoding: str) -> Shard:
    status = os.stat(file.path)
    compression = compression_of(file.path)
    asked = format_ is not Format.AUTO
    if not asked:
        format_ = format_of(file.path, compression)
    check_readable(file.path, format_, compression, encoding, asked=asked)
    return Shard(file.path, file.name, format_, compression, status.st_size, status.st_mtime_ns)
