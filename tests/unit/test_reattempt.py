"""Parts of all kinds of corpora and features are merged row by row, and what does not belong together is refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chaos.disturbance import rows
from unit.poisoned import ALL, CRASH, poisoned

from pipelines.corpus import CorpusOptions, parse_keep
from pipelines.documents import Document, Origin, Reason, Reject, Stage
from pipelines.inline import run_inline
from pipelines.opening import Request, make_spec
from pipelines.parts.quarantine import read_run
from pipelines.parts.run_document import RunDocument
from pipelines.parts.store import Store
from pipelines.parts.verify import verify
from pipelines.reattempt import by_item
from pipelines.replay import Replayed, replay
from pipelines.spec import Dtype, Pooling
from tasks.runs import open_run

Write = Callable[[Path], Path]
CRASHING = (0, 1, 5, 11, 12, 19)
DOCUMENTS = [
    {
        "id": f"doc-{number}",
        "text": ("plugh " if number in CRASHING else "") + f"number {number} of the river",
        "pair": f"and the mill {number}",
        "tags": [str(number)] * (number % 3),
        "day": date(2026, 1, 1 + number),
        "sort": "odd" if number % 2 else "even",
    }
    for number in range(20)
]


def as_jsonl(folder: Path) -> Path:
    path = folder / "corpus.jsonl"
    path.write_text("".join(json.dumps(document, default=str) + "\n" for document in DOCUMENTS))
    return path


def as_gzip(folder: Path) -> Path:
    path = folder / "corpus.jsonl.gz"
    path.write_bytes(gzip.compress(as_jsonl(folder).read_bytes()))
    return path


def as_parquet(folder: Path) -> Path:
    table = pa.Table.from_pylist(DOCUMENTS)
    sort = table.column("sort").dictionary_encode()
    path = folder / "corpus.parquet"
    pq.write_table(table.set_column(table.schema.get_field_index("sort"), "sort", sort), path, row_group_size=7)
    return path


def sealed(out: Path, corpus: Path, model: Path, classifier: Path) -> tuple[Store, RunDocument]:
    request = Request(
        arguments=(str(corpus),),
        corpus=CorpusOptions(pair_column="pair", keep=tuple(map(parse_keep, ("tags", "day", "sort")))),
        model=str(model),
        dtype=Dtype.FLOAT32,
        batch_documents=8,
        embed=(Pooling.MEAN, Pooling.CLS),
        classify=(str(classifier),),
        max_tokens=20,
    )
    store, document = open_run(
        out, make_spec(request), arguments=request.arguments, max_quarantined="100%", code_version="1"
    )
    assert run_inline(store, document, limit=ALL).state == "sealed"
    return store, document


@pytest.mark.parametrize("write", [as_jsonl, as_gzip, as_parquet])
def test_all_columns_of_all_formats_are_those_of_a_clean_run(
    write: Write, tiny_model: Path, tiny_classifier: Path, tmp_path: Path
) -> None:
    corpus = write(tmp_path)
    clean, _ = sealed(tmp_path / "clean", corpus, tiny_model, tiny_classifier)
    with poisoned(CRASH):
        store, document = sealed(tmp_path / "out", corpus, tiny_model, tiny_classifier)
    assert [reject.id for _, reject in read_run(store)] == [f"doc-{number}" for number in CRASHING]
    assert replay(store, document) == Replayed(len(CRASHING), len(CRASHING), 3)
    assert verify(store) == []
    found, expected = rows(store.root), rows(clean.root)
    computed = [name for name in expected.column_names if name.startswith(("embedding", "score"))]
    assert len(computed) == 4
    assert found.schema.equals(expected.schema)
    assert found.drop(computed).equals(expected.drop(computed))
    for name in computed:
        ours, theirs = (table.column(name).combine_chunks() for table in (found, expected))
        if pa.types.is_fixed_size_list(ours.type):
            ours, theirs = ours.flatten(), theirs.flatten()
        assert ours.to_pylist() == pytest.approx(theirs.to_pylist(), abs=1e-5)


def document(offset: int, name: str = "/c") -> Document:
    return Document(f"doc-{offset}", "text", None, Origin(name, offset, 1))


def reject(offset: int, name: str = "/c") -> Reject:
    return Reject(f"doc-{offset}", Origin(name, offset, 1), Stage.EXTRACT, Reason.CRASH, "")


def test_rejects_find_their_items() -> None:
    items = [document(0), document(5), reject(9), document(0, "/d")]
    assert by_item(items, []) == [None] * 4
    assert by_item(items, [reject(5), reject(9)]) == [None, reject(5), reject(9), None]
    assert by_item(items, [reject(0, "/d")]) == [None, None, None, reject(0, "/d")]
    assert by_item(items, [reject(6)]) is None
    assert by_item(items, [reject(5), reject(5)]) is None


def test_a_name_that_is_no_utf_8_is_found_as_the_quarantine_has_it() -> None:
    items = [document(0, "/caf\udce9")]
    stored = reject(0, "/caf\\udce9")
    assert by_item(items, [stored]) == [stored]
