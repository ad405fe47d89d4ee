"""Scanning plain JSON Lines and text: line ends are found, and blank lines told from others, a block at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.corpus.blocks import blocks
from pipelines.corpus.encodings import is_utf8
from pipelines.corpus.lines import MAX_LINE_BYTES
from pipelines.corpus.scan import Passed, UnscannableError
from pipelines.spec import CorpusSpec, Format, Shard

_BOM = b"\xef\xbb\xbf"
_NEWLINE = 10
_CONTROL_WHITESPACE = bytes([*range(9, 14), *range(28, 33)])
# The first bytes, in UTF-8, of the whitespace that is not ASCII: U+0085, U+00A0, U+1680, U+2000 to U+205F, U+3000.
_WIDE_WHITESPACE = b"\xc2\xe1\xe2\xe3"
_MOST_BYTES_OF_A_BYTE = 4
"""What a byte in another encoding can become in UTF-8: a character has four bytes at most."""


class LineScan:
    """A :class:`~pipelines.corpus.scan.Scan` of a plain file of lines."""

    enterable = True

    def __init__(self, shard: Shard, spec: CorpusSpec, offset: int, line: int) -> None:
        utf8 = is_utf8(spec.encoding)
        self._windows = _windows(shard, offset)
        self._strips_bom = utf8
        self._offset, self._line = offset, line
        if shard.format is Format.JSONL:
            self._counts_blank = False
            self._is_blank: Callable[[bytes], bool] = _is_blank_json
            self._maybe_blank = _first_bytes(_CONTROL_WHITESPACE)
        else:
            self._counts_blank = True
            self._is_blank = _BlankText("utf-8" if utf8 else spec.encoding)
            wide = _WIDE_WHITESPACE if utf8 else bytes(range(128, 256))
            self._maybe_blank = _first_bytes(_CONTROL_WHITESPACE + wide)
        # An escape in JSON is longer than what it stands for. A column that is used twice counts twice.
        texts = [*spec.text_columns, *filter(None, (spec.pair_column,))]
        self._factor = max(map(texts.count, texts)) * (1 if utf8 else _MOST_BYTES_OF_A_BYTE)
        self._base, self._data = offset, memoryview(b"")
        self._ends: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self._lines: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self._place = 0
        self._lines_after = line

    def take(self, wanted: int, room: int, digest: Any) -> Passed:
        """See :class:`~pipelines.corpus.scan.Scan`."""
        start, line = self._offset, self._line
        passed = Passed(0, start, line, 0, 0, digest)
        while True:
            count = min(wanted - passed.items, len(self._ends) - self._place)
            if count:
                last = self._place + count - 1
                self._pass_to(int(self._ends[last]), int(self._lines[last]), digest)
                self._place += count
                items = passed.items + count
                blank = self._line - line - items if self._counts_blank else 0
                size = (self._offset - start) * self._factor
                passed = Passed(items, self._offset, self._line, blank, size, digest)
                if size > room:
                    raise UnscannableError(f"up to {size} bytes of text")
                if items == wanted:
                    return passed
                passed = passed._replace(digest=digest.copy())
            self._pass_to(self._base + len(self._data), self._lines_after, digest)
            try:
                window = next(self._windows, None)
            except OSError as error:
                raise UnscannableError(str(error)) from error
            if window is None:
                blank_after = self._line - passed.line if self._counts_blank else 0
                return passed._replace(ended=True, blank_after=blank_after)
            self._look_at(window)

    def close(self) -> None:
        """See :class:`~pipelines.corpus.scan.Scan`."""
        self._windows.close()

    def _pass_to(self, offset: int, line: int, digest: Any) -> None:
        digest.update(self._data[self._offset - self._base : offset - self._base])
        self._offset, self._line = offset, line

    def _look_at(self, window: bytes) -> None:
        """Find the items of whole lines that follow what was passed by."""
        self._base += len(self._data)
        self._data = memoryview(window)
        data = np.frombuffer(window, np.uint8)
        ends = np.flatnonzero(data == _NEWLINE) + 1
        if not len(ends) or ends[-1] != len(window):
            ends = np.append(ends, len(window))  # a last line without an end
        starts = np.empty_like(ends)
        starts[0] = 0
        starts[1:] = ends[:-1]
        if self._base == 0 and window.startswith(_BOM) and self._strips_bom:
            starts[0] = len(_BOM)
        if len(window) > MAX_LINE_BYTES and int((ends - starts).max()) > MAX_LINE_BYTES:
            raise UnscannableError("a line that is not kept in memory")
        numbers = np.arange(self._lines_after + 1, self._lines_after + 1 + len(ends))
        self._lines_after += len(ends)
        empty = starts == len(window)  # after a byte order mark that is all there is
        first = data[np.minimum(starts, len(window) - 1)]
        items = ~empty
        for index in np.flatnonzero(self._maybe_blank[first] & items):
            line = window[starts[index] : ends[index]].removesuffix(b"\n")
            items[index] = not self._is_blank(line)
        if empty[-1]:
            self._lines_after -= 1
        self._ends, self._lines, self._place = ends[items] + self._base, numbers[items], 0


def _windows(shard: Shard, offset: int) -> Generator[bytes, None, None]:
    """The bytes of a file from a place on, in pieces of whole lines."""
    tail = b""
    for block in blocks(shard.uri, shard.compression, offset):
        data = tail + block if tail else block
        cut = data.rfind(b"\n") + 1
        tail = data[cut:]
        if cut:
            yield data[:cut]
        if len(tail) > MAX_LINE_BYTES:
            raise UnscannableError("a line that is not kept in memory")
    if tail:
        yield tail


def _first_bytes(some: bytes) -> npt.NDArray[np.bool_]:
    """A table of 256 entries that is true for some bytes."""
    table = np.zeros(256, np.bool_)
    table[list(some)] = True
    return table


def _is_blank_json(line: bytes) -> bool:
    return not line or line.isspace()


class _BlankText:
    """Whether a line of text is blank: one that cannot be decoded is not."""

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding

    def __call__(self, line: bytes) -> bool:
        try:
            text = line.removesuffix(b"\r").decode(self.encoding)
        except UnicodeDecodeError:
            return False
        return not text or text.isspace()
