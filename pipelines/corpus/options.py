"""What the command line says about reading a corpus."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.corpus.encodings import check_encoding
from pipelines.corpus.keep import KeepOption
from pipelines.errors import UsageError
from pipelines.spec import Attached, Format


@dataclass(frozen=True, slots=True)
class CorpusOptions:
    """How files become documents, as the user asked for it.

    A column that the user named must be there; the default text column has an error message of its own, and the
    default id column may be absent. ``text_named`` tells ``--text-column text`` from the default; any other
    ``text_columns`` count as named. ``id_column`` None is the default, ``id`` where there is one.
    """

    format: Format = Format.AUTO
    text_columns: tuple[str, ...] = ("text",)
    pair_column: str | None = None
    id_column: str | None = None
    keep: tuple[KeepOption, ...] = ()
    header: bool = True
    whole_files: bool = False
    encoding: str = "utf-8"
    limit: int | None = None
    text_named: bool = False
    attached: tuple[Attached, ...] = ()

    @property
    def named_columns(self) -> tuple[str, ...]:
        """The columns that must be there because the user named them, each once."""
        texts = self.text_columns if self.text_named or self.text_columns != ("text",) else ()
        others = (self.pair_column, self.id_column, *(option.column for option in self.keep))
        attached = (one.column for one in self.attached)
        return tuple(dict.fromkeys([*texts, *(name for name in others if name is not None), *attached]))

    def check(self) -> None:
        """Raises UsageError where the options contradict each other."""
        check_encoding(self.encoding)
        if not self.text_columns:
            raise UsageError("No text column is given, wanted at least one.", "Leave --text-column out to use 'text'.")
        if self.limit is not None and self.limit < 0:
            raise UsageError(f"--limit is {self.limit}, wanted 0 or more.")
        if self.whole_files and self.format not in (Format.AUTO, Format.TEXT):
            raise UsageError(f"--whole-files reads text files, --format is {self.format}.", "Leave one of them out.")
        if self.attached and self.pair_column is not None:
            raise UsageError(
                f"--pair-column cannot be had beside a column of {self.attached[0].role}.", "Leave one of them out."
            )
        names = [option.name or option.column for option in self.keep]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"Two kept columns are called {name!r}.", "Rename one of them: --keep COL=NAME")
