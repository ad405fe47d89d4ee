"""From the columns of a row to a document: text, pair, id and kept values, or the reject that it becomes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.corpus.conversion import Converter, MisfitError
from pipelines.corpus.dotted import dotted, with_dotted
from pipelines.corpus.evidence import excerpt, made_id, printable, reject_at
from pipelines.corpus.integers import json_text
from pipelines.corpus.lines import MAX_LINE_BYTES
from pipelines.documents import Document, Origin, Reason, Reject, Stage
from pipelines.spec import CorpusSpec, Shard

Step = tuple[Document | Reject | None, int, int, int]
"""An item of a shard, the offset and line after it, and the blank lines so far; None only moves the place."""

_KINDS = {bool: "a boolean", int: "a number", float: "a number", list: "an array", dict: "an object"}


class ColumnMapping:
    """How the rows of one shard become documents. ``converters`` are those of the kept columns, None where none is
    needed; ``warnings`` collects the notes on kept values that did not fit.
    """

    def __init__(self, spec: CorpusSpec, shard: Shard, converters: Sequence[Converter | None]) -> None:
        self._shard = shard
        self._texts = spec.text_columns
        self._text = spec.text_columns[0]
        self._single = len(spec.text_columns) == 1
        self._pair = spec.pair_column
        self._id = spec.id_column
        self._attached = spec.attached
        self._dotted = dotted(spec.used_columns)
        self._keep = tuple(zip(spec.keep, converters, strict=True))
        self.warnings: list[Reject] = []

    def document(
        self,
        values: Mapping[str, Any],
        offset: int,
        line: int,
        raw: bytes | None,
        kept: Sequence[Any] | None = None,
    ) -> Document | Reject:
        """The document of a row, or its reject. ``raw`` are the bytes it was read from, the evidence of a reject.

        ``kept`` are the source values of the kept columns where they are not those of ``values``.
        """
        if self._dotted:
            values = with_dotted(values, self._dotted)
        text = values.get(self._text) if self._single else self._joined(values)
        key = None if self._id is None else values.get(self._id)
        if type(key) is not str:
            key = self._id_of(key, offset)
        if type(text) is not str or key is None:
            return self._reject(values, offset, line, raw, key)
        if not text or text.isspace():
            return self._refused(Reason.EMPTY_TEXT, "the text is empty", offset, line, raw, key)
        pair = None
        if self._pair is not None:
            pair = values.get(self._pair)
            if type(pair) is not str:
                return self._column_fault(self._pair, pair, offset, line, raw, key)
        if self._attached:
            found = {str(one.role): values.get(one.column) for one in self._attached}
            for one in self._attached:
                if isinstance(found[one.role], bytes):  # what is not UTF-8
                    return self._column_fault(one.column, found[one.role], offset, line, raw, key)
            pair = json_text(found)
        if len(text) > MAX_LINE_BYTES or (pair is not None and len(pair) > MAX_LINE_BYTES):
            detail = f"the text has over {MAX_LINE_BYTES} characters"
            return self._refused(Reason.TOO_LONG, detail, offset, line, raw, key)
        origin = Origin(self._shard.uri, offset, line)
        if not self._keep:
            return Document(key, text, pair, origin)
        return Document(key, text, pair, origin, self._kept(values, kept, key, origin))

    def _joined(self, values: Mapping[str, Any]) -> str | None:
        """Several text columns in one text, the missing ones left out; None where none is there or one is no text."""
        parts = [value for column in self._texts if (value := values.get(column)) is not None]
        if not parts or any(type(part) is not str for part in parts):
            return None
        return "\n".join(parts)

    def _id_of(self, key: Any, offset: int) -> str | None:
        """An id that is no text: numbers and booleans as JSON writes them; made where there is none; else None."""
        if key is None or (type(key) is float and math.isnan(key)):
            return made_id(self._shard, offset)
        if type(key) is bool:
            return "true" if key else "false"
        return repr(key) if type(key) in (int, float) else None

    def _reject(self, values: Mapping[str, Any], offset: int, line: int, raw: bytes | None, key: str | None) -> Reject:
        """The reject of a row whose text or id cannot be used."""
        if key is None:
            assert self._id is not None
            return self._column_fault(self._id, values.get(self._id), offset, line, raw, None)
        for column in self._texts:
            value = values.get(column)
            if value is not None and type(value) is not str:
                return self._column_fault(column, value, offset, line, raw, key)
        if self._single:
            return self._column_fault(self._text, None, offset, line, raw, key, there=self._text in values)
        detail = f"none of the text columns {', '.join(map(repr, self._texts))} has a value"
        return self._refused(Reason.MISSING_TEXT, detail, offset, line, raw, key)

    def _column_fault(
        self,
        column: str,
        value: Any,
        offset: int,
        line: int,
        raw: bytes | None,
        key: str | None,
        *,
        there: bool = False,
    ) -> Reject:
        if value is None:
            reason, detail = Reason.MISSING_TEXT, f"column {column!r} is {'null' if there else 'missing or null'}"
        elif isinstance(value, bytes):
            reason, detail = Reason.BAD_ENCODING, f"column {column!r} is not valid UTF-8"
            raw = value if raw is None else raw
        else:
            found = _KINDS.get(type(value), f"a {type(value).__name__}")
            reason, detail = Reason.WRONG_TYPE, f"column {column!r} is {found}, wanted text"
        return self._refused(reason, detail, offset, line, raw, key)

    def _refused(
        self, reason: Reason, detail: str, offset: int, line: int, raw: bytes | None, key: str | None
    ) -> Reject:
        return reject_at(self._shard, offset, line, reason, detail, raw, id=key)

    def _kept(
        self, values: Mapping[str, Any], given: Sequence[Any] | None, key: str, origin: Origin
    ) -> tuple[Any, ...]:
        result = []
        for index, (kept, convert) in enumerate(self._keep):
            value = values.get(kept.column) if given is None else given[index]
            if value is not None and convert is not None:
                try:
                    value = convert(value)
                except MisfitError:
                    self._warn(kept.column, kept.type, value, key, origin)
                    value = None
            result.append(value)
        return tuple(result)

    def _warn(self, column: str, type_name: str, value: Any, key: str, origin: Origin) -> None:
        raw = value if isinstance(value, bytes) else printable(value).encode()
        wanted = "the type of the column" if type_name.startswith("arrow:") else type_name
        detail = f"column {column!r}: {excerpt(raw)[:60]!r} does not fit {wanted}; it became null"
        warning = reject_at(
            self._shard, origin.offset, origin.line, Reason.KEPT_VALUE, detail, raw, id=key, stage=Stage.WARNING
        )
        self.warnings.append(warning)
