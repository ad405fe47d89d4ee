"""Is the corpus still the one that was planned?"""

from __future__ import annotations

import os

from pipelines.corpus.evidence import shown
from pipelines.errors import CorpusChangedError
from pipelines.spec import CorpusSpec

_HINT = "Put the old file back, or start a new run in another folder."


def check_unchanged(spec: CorpusSpec) -> None:
    """Raises CorpusChangedError naming the first file that is gone or whose size or modification time differs."""
    for shard in spec.shards:
        try:
            status = os.stat(shard.uri)
        except OSError as error:
            raise CorpusChangedError(
                f"{shown(shard.uri)} was there when the run was planned, now: {error.strerror}.", _HINT
            ) from error
        if status.st_size != shard.size:
            message = f"{shown(shard.uri)} had {shard.size} bytes when the run was planned, now {status.st_size}."
            raise CorpusChangedError(message, _HINT)
        if status.st_mtime_ns != shard.mtime_ns:
            raise CorpusChangedError(f"{shown(shard.uri)} was written to after the run was planned.", _HINT)
