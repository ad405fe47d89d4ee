"""Scanning Parquet: rows are counted by the footer, their text is bounded by page headers; no data page is read."""

from __future__ import annotations

from typing import Any

from pipelines.corpus.page_bounds import TextBounds
from pipelines.corpus.scan import Passed, UnscannableError
from pipelines.corpus.source_digest import file_identity
from pipelines.errors import CorpusChangedError
from pipelines.spec import CorpusSpec, Shard


class RowScan:
    """A :class:`~pipelines.corpus.scan.Scan` of a Parquet file."""

    enterable = False  # who is sent to read a batch reads on: there will be more like it

    def __init__(self, shard: Shard, spec: CorpusSpec, offset: int) -> None:
        self._row = offset
        texts = [*spec.text_columns, *filter(None, (spec.pair_column,))]
        used = [*texts, *filter(None, (spec.id_column,)), *(kept.column for kept in spec.keep)]
        try:
            self._identity = file_identity(shard.uri)
            self._bounds = TextBounds(shard.uri, texts, used)
        except (OSError, CorpusChangedError) as error:
            raise UnscannableError(str(error)) from error

    def take(self, wanted: int, room: int, digest: Any) -> Passed:
        """See :class:`~pipelines.corpus.scan.Scan`."""
        count = min(wanted, self._bounds.rows - self._row)
        size = self._bounds.text_bytes(self._row, self._row + count)
        if size > room:
            raise UnscannableError(f"up to {size} bytes of text")
        digest.update(self._identity)
        self._row += count
        return Passed(count, self._row, 0, 0, size, digest, ended=count < wanted)

    def close(self) -> None:
        """See :class:`~pipelines.corpus.scan.Scan`."""
        self._bounds.close()
