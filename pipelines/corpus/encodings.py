"""Which text encodings can be read line by line."""

from __future__ import annotations

import codecs

from pipelines.errors import UsageError

_UTF8 = ("utf-8", "utf-8-sig")


def is_utf8(encoding: str) -> bool:
    """Whether an encoding is UTF-8, with or without a byte order mark."""
    return codecs.lookup(encoding).name in _UTF8


def check_encoding(encoding: str) -> None:
    """Raises UsageError for an encoding that is unknown, or in which an ASCII byte can mean something else.

    Files are cut into lines and fields as bytes. That is right only where every ASCII byte stands for itself, which
    rules out UTF-16, UTF-32, UTF-7, EBCDIC and the ISO-2022 family.
    """
    try:
        plain = all(bytes([byte]).decode(encoding) == chr(byte) for byte in range(128))
    except LookupError as error:
        raise UsageError(f"--encoding {encoding!r} is unknown.", "Use for example utf-8, latin-1 or cp1252.") from error
    except ValueError:
        plain = False
    if not plain:
        raise UsageError(
            f"--encoding {encoding!r} cannot be read line by line.",
            f"Convert the files: iconv -f {encoding} -t UTF-8 FILE > FILE.utf8",
        )
