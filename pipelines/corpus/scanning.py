"""Which files can be scanned: plain ones whose lines are items, and Parquet."""

from __future__ import annotations

from pipelines.corpus.dotted import dotted
from pipelines.corpus.line_scan import LineScan
from pipelines.corpus.row_scan import RowScan
from pipelines.corpus.scan import Scan, UnscannableError
from pipelines.spec import CorpusSpec, Format, Shard


def open_scan(shard: Shard, spec: CorpusSpec, offset: int, line: int) -> Scan:
    """A scan of a file from a place on. Raises UnscannableError where it has to be read.

    Records of CSV and TSV are found by reading only: a quoted field may hold line ends. A compressed file is read
    because it cannot be entered in the middle: each worker would decompress all that lies before its batch. How long
    attached values are as JSON is seen when they are read, and so is a text that lies within a column of Parquet.
    """
    if spec.attached or (shard.format is Format.PARQUET and dotted(spec.used_columns)):
        raise UnscannableError("values within columns have to be read")
    if shard.compression != "none":
        raise UnscannableError(f"{shard.compression} has to be read")
    if shard.format is Format.JSONL or (shard.format is Format.TEXT and not spec.whole_files):
        return LineScan(shard, spec, offset, line)
    if shard.format is Format.PARQUET:
        return RowScan(shard, spec, offset)
    raise UnscannableError(f"{shard.format} has to be read")
