"""Whether a column that travels with the documents holds what the feature needs of it, seen before the run begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Any

from pipelines.corpus import open_corpus
from pipelines.documents import Document
from pipelines.errors import DocumentError, InputError
from pipelines.readings.attached_values import attached_values, text_list, text_or_none
from pipelines.spec import CorpusSpec, Role

SAMPLE_DOCUMENTS = 1_000
SAMPLE_CHARACTERS = 64 * 2**20

_READ: Mapping[Role, Callable[[Any, str], object]] = MappingProxyType(
    {Role.CHOICES: text_list, Role.CONTEXT: text_or_none, Role.CANDIDATES: text_list}
)


def check_attached(corpus: CorpusSpec) -> None:
    """Raises InputError for an attached column that suits none of the first documents that have a value there.

    Each of them would only go to the quarantine. It ends at the first document that suits, and a column of nulls is
    left alone, for values may come later.
    """
    if not corpus.attached:
        return
    waiting = {one.role: one.column for one in corpus.attached}
    faults: dict[Role, list[DocumentError]] = {role: [] for role in waiting}
    characters = 0
    with open_corpus(corpus) as reader:
        for item in islice(reader, SAMPLE_DOCUMENTS):
            if not isinstance(item, Document):
                continue
            values = attached_values(item)
            for role in list(waiting):
                value = values.get(role)
                if value is None or value == "":  # CSV has no other null
                    continue
                try:
                    _READ[role](value, str(role))
                except DocumentError as error:
                    faults[role].append(error)
                else:
                    del waiting[role]
            characters += len(item.text) + len(item.pair or "")
            if not waiting or characters > SAMPLE_CHARACTERS:
                break
    for role, column in waiting.items():
        if faults[role]:
            raise InputError(
                f"Column {column!r} is no column of {role}: {_decapitalised(faults[role][0].message)} "
                f"None of the values looked at ({len(faults[role]):,}) is one.",
                f"Name another with --{role}-column.",
            )


def _decapitalised(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
