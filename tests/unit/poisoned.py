"""Runs of which some documents could not be extracted, for reasons that have gone since."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest.mock import patch

from pipelines.corpus import CorpusOptions, parse_keep
from pipelines.inline import run_inline
from pipelines.opening import Request, make_spec
from pipelines.parts.limit import Limit
from pipelines.parts.run_document import RunDocument
from pipelines.parts.store import Store
from pipelines.roberta.tokenizer import Tokenizer
from pipelines.spec import Dtype
from tasks.runs import open_run

CRASH: Mapping[str, Exception] = {"plugh": RuntimeError("plugh")}
MEMORY: Mapping[str, Exception] = {"xyzzy": MemoryError("xyzzy")}
PLUGH = (3, 4, 25, *range(40, 50))
XYZZY = (6, 26, 33)
BROKEN = (5, 27)
ALL = Limit.parse("100%")


@contextlib.contextmanager
def poisoned(*faults: Mapping[str, Exception]) -> Iterator[None]:
    """While this lasts, texts with certain words cannot be tokenised."""
    encode = Tokenizer.encode
    known = {word: error for fault in faults for word, error in fault.items()}

    def faulty(self: Tokenizer, texts: list[str], *arguments: object) -> object:
        for word, error in known.items():
            if any(word in text for text in texts):
                raise error
        return encode(self, texts, *arguments)  # type: ignore[arg-type]  # passed on as it came

    with patch.object(Tokenizer, "encode", faulty):
        yield


def write_corpus(path: Path) -> Path:
    """60 lines: 13 with the word *plugh*, 3 with *xyzzy*, two that are no JSON, two with the same id."""
    words = dict.fromkeys(PLUGH, "plugh ") | dict.fromkeys(XYZZY, "xyzzy ")
    with path.open("w", encoding="utf-8") as file:
        for number in range(60):
            text = f"{number}: " + "the river fills the quiet water, and " * (1 + number % 7)
            document = {"id": f"doc-{25 if number == 1 else number}", "text": words.get(number, "") + text}
            kept = "no number" if number in (4, 8) else number
            file.write("{broken\n" if number in BROKEN else json.dumps({**document, "number": kept}) + "\n")
    return path


def poisoned_run(out: Path, corpus: Path, model: Path, *faults: Mapping[str, Exception]) -> tuple[Store, RunDocument]:
    """The corpus as a sealed dataset of six parts."""
    request = Request(
        arguments=(str(corpus),),
        corpus=CorpusOptions(keep=(parse_keep("number:int64"),)),
        model=str(model),
        dtype=Dtype.FLOAT32,
        batch_documents=10,
        max_tokens=16,
    )
    store, document = open_run(
        out, make_spec(request), arguments=request.arguments, max_quarantined="100%", code_version="1"
    )
    with poisoned(*faults):
        assert run_inline(store, document, limit=ALL).state == "sealed"
    return store, document
