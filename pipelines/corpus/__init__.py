"""The readers: files of many formats as one stream of documents and rejects, readable on from any place.

Free of torch, so that producers start fast.
"""

from pipelines.corpus.discovery import discover
from pipelines.corpus.keep import KeepOption, parse_keep
from pipelines.corpus.options import CorpusOptions
from pipelines.corpus.reader import CorpusReader, open_corpus
from pipelines.corpus.spool import spool
from pipelines.corpus.unchanged import check_unchanged

__all__ = [
    "CorpusOptions",
    "CorpusReader",
    "KeepOption",
    "check_unchanged",
    "discover",
    "open_corpus",
    "parse_keep",
    "spool",
]
