"""The digests of parts, taken while they were written: the seal need not read terabytes again to list them."""

from __future__ import annotations

import json
import os
import re
import socket

from pipelines.parts.layout import TEMPORARY
from pipelines.parts.store import Store

_RECEIPTS = re.compile(r"receipts-[A-Za-z0-9._-]+\.jsonl")
_RECORD = 40  # 8 bytes of size, 32 of SHA-256
_CONFLICT = b"\xff" * _RECORD


def write(store: Store, batch: int, size: int, sha256: str) -> None:
    """Note size in bytes and hex SHA-256 of a part that this process has committed. May be lost: it saves time only."""
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())
    line = json.dumps({"batch": batch, "bytes": size, "sha256": sha256})
    store.append(f"{TEMPORARY}/receipts-{host}-{os.getpid()}.jsonl", line.encode())


class Receipts:
    """All receipts of a run of so many batches, 40 bytes of memory for each batch."""

    def __init__(self, store: Store, batches: int) -> None:
        self._records = bytearray(_RECORD * batches)
        for name in store.list(TEMPORARY):
            if not _RECEIPTS.fullmatch(name):
                continue
            with store.open(f"{TEMPORARY}/{name}") as lines:
                for line in lines:
                    self._note(line, batches)

    def get(self, batch: int) -> tuple[int, str] | None:
        """Size and hex SHA-256 of a batch's part; None without a receipt, or where two contradict each other."""
        record = bytes(self._records[batch * _RECORD : (batch + 1) * _RECORD])
        if record == _CONFLICT or not any(record):
            return None
        return int.from_bytes(record[:8], "little"), record[8:].hex()

    def _note(self, line: bytes, batches: int) -> None:
        try:
            value = json.loads(line)
            batch, size, sha256 = int(value["batch"]), int(value["bytes"]), bytes.fromhex(value["sha256"])
            record = size.to_bytes(8, "little") + sha256
        except (ValueError, KeyError, TypeError, OverflowError):
            return  # a line cut short by a crash
        if not 0 <= batch < batches or len(record) != _RECORD:
            return
        place = slice(batch * _RECORD, (batch + 1) * _RECORD)
        before = bytes(self._records[place])
        # A part that was removed by hand and made again leaves two receipts: then the file itself is asked.
        self._records[place] = record if not any(before) or before == record else _CONFLICT
