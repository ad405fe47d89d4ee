"""How much a file may give for its size: honest ones, and how the others are told."""

from __future__ import annotations

FREE_BYTES = 64 * 2**20
"""What a file may become whatever its size: small files that say the same thing often are no bombs."""

MAX_RATIO = 100
"""Bytes given for each byte read, after FREE_BYTES. Text is packed 2 to 20 times smaller."""

MAX_DECOMPRESSED_BYTES = 2**40
"""What one compressed file may become at all."""

_FREE_ROWS = 2**20


def bytes_fault(given: int, read: int) -> str:
    """Why ``read`` bytes may not become ``given`` ones, or nothing."""
    if given > MAX_DECOMPRESSED_BYTES:
        return (
            f"decompression bomb? it gave over {MAX_DECOMPRESSED_BYTES} bytes, the most that one file may; "
            "split the file if it is honest"
        )
    if given > max(FREE_BYTES, MAX_RATIO * read):
        return (
            f"decompression bomb? {read} bytes become {given}, more than {MAX_RATIO} to 1; "
            "decompress the file first if it is honest"
        )
    return ""


def rows_fault(rows: int, size: int) -> str:
    """Why a file of ``size`` bytes may not have so many rows, or nothing."""
    if rows > max(_FREE_ROWS, MAX_RATIO * size):
        return f"decompression bomb? it says that it has {rows} rows in {size} bytes"
    return ""
