"""Reading a corpus: its files one after the other, from any place, each item with the place after it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from types import TracebackType

from pyarrow.types import is_nested

from pipelines.corpus import columnar, delimited, jsonl, plain
from pipelines.corpus.arrow_values import is_text, plain_type
from pipelines.corpus.conversion import Converter, converter, unless_bytes
from pipelines.corpus.evidence import DamagedFile, reject_at, shown
from pipelines.corpus.mapping import ColumnMapping, Step
from pipelines.documents import CORPUS_START, Cursor, Document, Reason, Reject
from pipelines.errors import CorpusChangedError, InfrastructureError
from pipelines.spec import CorpusSpec, Format, KeptColumn, Shard, arrow_type

_READERS: dict[Format, Callable[[Shard, CorpusSpec, ColumnMapping, int, int], Iterator[Step]]] = {
    Format.JSONL: jsonl.read,
    Format.CSV: delimited.read,
    Format.TSV: delimited.read,
    Format.PARQUET: columnar.read,
    Format.ARROW: columnar.read,
    Format.TEXT: plain.read,
}


def open_corpus(spec: CorpusSpec, start: Cursor = CORPUS_START) -> CorpusReader:
    """The items of a corpus from a cursor on: exactly those that reading through gives after it.

    Plain files and Parquet are entered at the place; compressed files and Arrow are read again up to it.
    """
    return CorpusReader(spec, start)


class CorpusReader:
    """Items of a corpus in order, with constant memory in the size of files and corpus.

    One pass: iterating again goes on where the last iteration stopped. After the last item ``cursor`` is the end of
    the corpus, with all its blank lines counted; with a ``limit``, the place after the last item allowed.
    Raises CorpusChangedError for a file that is gone, InfrastructureError where storage fails.
    """

    def __init__(self, spec: CorpusSpec, start: Cursor) -> None:
        self._spec = spec
        self._shard, self._offset, self._line, self._documents, self._blank = start
        self._warnings: list[Reject] = []
        self._steps: Generator[Document | Reject, None, None] | None = None

    @property
    def cursor(self) -> Cursor:
        """The place right after the last item that was handed out."""
        return Cursor(self._shard, self._offset, self._line, self._documents, self._blank)

    def take_warnings(self) -> list[Reject]:
        """The warnings since the last call; called after each item, they belong to that item."""
        if not self._warnings:
            return []
        taken = list(self._warnings)
        self._warnings.clear()
        return taken

    def __iter__(self) -> Iterator[Document | Reject]:
        self.close()
        self._steps = self._items()
        return self._steps

    def __enter__(self) -> CorpusReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file that is open. The cursor stays, and iterating opens it again."""
        if self._steps is not None:
            self._steps.close()
            self._steps = None

    def _items(self) -> Generator[Document | Reject, None, None]:
        limit = self._spec.limit
        shards = self._spec.shards
        while self._shard < len(shards):
            if limit is not None and self._documents >= limit:
                return
            for item in self._shard_items(shards[self._shard]):
                self._documents += 1
                yield item
                if limit is not None and self._documents >= limit:
                    return

    def _shard_items(self, shard: Shard) -> Generator[Document | Reject, None, None]:
        """The items of the current file; the place moves on with each."""
        mapping = ColumnMapping(self._spec, shard, [_converter(shard, kept) for kept in self._spec.keep])
        mapping.warnings = self._warnings
        blank_before = self._blank
        steps = _READERS[shard.format](shard, self._spec, mapping, self._offset, self._line)
        try:
            for item, self._offset, self._line, blank in steps:
                self._blank = blank_before + blank
                if item is not None:
                    yield item
        except DamagedFile as damage:
            # The place moves on first: who goes on after this reject goes on with the next file.
            self._next_shard()
            yield reject_at(shard, damage.offset, damage.line, Reason.DAMAGED_FILE, damage.detail, damage.raw or None)
        except FileNotFoundError as error:
            raise CorpusChangedError(f"{shown(shard.uri)} is gone.", "Put it back, or start a new run.") from error
        except OSError as error:
            raise InfrastructureError(f"{shown(shard.uri)} cannot be read: {error.strerror or error}.") from error
        else:
            self._next_shard()

    def _next_shard(self) -> None:
        self._shard += 1
        self._offset = self._line = 0


def _converter(shard: Shard, kept: KeptColumn) -> Converter | None:
    """What makes the values of a file fit a kept column; None where they are of its type already."""
    if shard.format not in (Format.PARQUET, Format.ARROW):
        return converter(kept.type, textual=shard.format is not Format.JSONL)
    schema = columnar.schema(shard)
    index = -1 if schema is None else schema.get_field_index(kept.column)
    wanted = arrow_type(kept.type)
    if (
        schema is None
        or index < 0
        or kept.type == "json"
        or is_text(wanted)
        or plain_type(schema.field(index).type) != wanted
    ):
        return converter(kept.type, textual=False)
    return unless_bytes if is_nested(wanted) else None
