"""Token and word vectors of any text at all: nothing raises, no token is lost; and how much of them a batch holds.

``FUZZ_STRINGS=100000`` asks for as many strings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from unit.odd_strings import FUZZ_STRINGS, odd_strings

from pipelines.assembly import Extracted
from pipelines.corpus import CorpusOptions
from pipelines.documents import Batch, Document, Origin, Reason
from pipelines.errors import UsageError
from pipelines.extract import Extractor
from pipelines.features import token_states
from pipelines.features.embedding import mixed
from pipelines.features.words import used_words
from pipelines.opening.embeddings import VectorForm
from pipelines.opening.questions import AskedQuestions
from pipelines.opening.request import Request, make_spec
from pipelines.opening.token_vectors import TokenVectors
from pipelines.parts import schema
from pipelines.parts.plan import PlanEntry
from pipelines.parts.schema import row_group_rows, writer_options
from pipelines.parts.store import Store
from pipelines.planning import Planner
from pipelines.spec import Dtype, Long, LongTexts, RunSpec, Storage, WordSource, from_json, run, to_json

GIVEN = "“Don’t” go: 3,5 €\u3000日本語 👩🏽‍🚀\u200b …\tend \u0000."


def spec_of(corpus: Path, model: Path, tokens: str | None, words: str | None = None, **options: Any) -> RunSpec:
    given = {"dtype": Dtype.FLOAT32, "batch_documents": 64, **options}
    reading = CorpusOptions(pair_column=given.pop("pair", None))
    return make_spec(
        Request((str(corpus),), reading, model=str(model), token_vectors=TokenVectors(tokens, words), **given)
    )


def extract(spec: RunSpec, texts: Sequence[str]) -> Extracted:
    documents = [Document(str(n), text, None, Origin("memory", n, 0)) for n, text in enumerate(texts)]
    return Extractor(spec, token_budget=4000).extract(Batch(0, 0, [*documents]))


def by_document(table: pa.Table, name: str) -> Iterator[np.ndarray]:
    for cell in table[name]:
        yield cell.values.flatten().to_numpy().reshape(-1, cell.type.value_type.list_size).astype(np.float64)


@pytest.fixture(scope="module", params=["roberta", "xlm-roberta"])
def small(
    request: pytest.FixtureRequest,
    make_model: Callable[..., Path],
    texts: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A model of one layer: what is tried is the way there and back."""
    out = tmp_path_factory.mktemp("token") / request.param
    return make_model(texts, out, model_type=request.param, vocab_size=700, max_positions=42, hidden_size=16, layers=1)


@pytest.mark.parametrize(("source", "long"), [("split", Long.WINDOW), ("blanks", Long.TRUNCATE)])
def test_no_text_raises_and_no_token_is_lost(small: Path, small_corpus: Path, source: str, long: Long) -> None:
    stride = 9 if long is Long.WINDOW else 0
    spec = spec_of(small_corpus, small, "last", source, long=LongTexts(long, stride), max_tokens=40)
    texts = [GIVEN, *odd_strings(FUZZ_STRINGS // 4, seed=11)]
    for start in range(0, len(texts), 2000):
        part = texts[start : start + 2000]
        extracted = extract(spec, part)
        assert extracted.rejects == []
        vectors = [*by_document(extracted.table, "token_vectors")], [*by_document(extracted.table, "word_vectors")]
        rest = extracted.table.drop_columns(["token_vectors", "word_vectors"]).to_pylist()
        for text, row, tokens, words in zip(part, rest, *vectors, strict=True):
            assert len(row["tokens"]) == len(row["token_begins"]) == len(tokens) == row["n_used"]
            assert len(row["words"]) == len(row["word_ends"]) == len(words)
            np.testing.assert_allclose(words.sum(0), tokens.sum(0), rtol=1e-6, atol=1e-4)
            places = [*zip(row["word_begins"], row["word_ends"], strict=True)]
            assert row["words"] == ["<s>", *(text[begin:end] for begin, end in places[1:-1]), "</s>"]
            assert 0 == places[0][0] <= places[-1][1] <= len(text)
            assert all(end <= begin for (_, end), (begin, _) in pairwise(places))
            if source == "blanks":
                assert row["words"][1:-1] == text.split()[: len(places) - 2]
            if row["n_used"] == row["n_tokens"]:
                assert "".join(row["words"][1:-1]) == "".join(text.split())
                assert places[-1] == (len(text), len(text))


def test_the_last_word_of_a_cut_text_is_whole() -> None:
    text = "It's a well-known river, isn't it?"
    for source in WordSource:
        whole = used_words(text, len(text), source)
        for end in range(len(text)):
            assert used_words(text, end, source) == [(begin, stop) for begin, stop in whole if begin < end]


def test_tokens_are_written_as_text(tiny_model: Path, small_corpus: Path) -> None:
    row = extract(spec_of(small_corpus, tiny_model, "last", prefix="say "), ["the river"]).table.to_pylist()[0]
    assert (row["tokens"][0], row["tokens"][-1]) == ("<s>", "</s>")
    assert "".join(row["tokens"][1:-1]) == "say the river"
    places = zip(row["tokens"], row["token_begins"], row["token_ends"], strict=True)
    assert all(piece.endswith("the river"[begin:end]) for piece, begin, end in places if piece != "</s>")


def test_a_number_that_is_none_costs_its_document(
    tiny_model: Path, small_corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(layers: Any, weights: Any) -> Any:
        vectors = mixed(layers, weights).clone()
        vectors[0] = float("inf")
        return vectors

    monkeypatch.setattr(token_states, "mixed", broken)
    spec = replace(spec_of(small_corpus, tiny_model, "last", "split"), max_tokens=20)
    rejects = extract(spec, ["the river", "a pump"]).rejects
    assert {reject.reason for reject in rejects} == {Reason.NOT_FINITE}


def test_a_batch_has_so_much_text_as_memory_holds_vectors_for(tiny_model: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("".join(f"{number} {'river ' * 400}\n" for number in range(20)))
    plain = spec_of(corpus, tiny_model, None)
    assert plain.max_batch_text_bytes == run.MAX_BATCH_TEXT_BYTES
    assert plain.max_document_tokens is None
    one, all_ = spec_of(corpus, tiny_model, "last"), spec_of(corpus, tiny_model, "all", "split@-1")
    assert one.max_batch_text_bytes == 4 * run.BATCH_VECTOR_BYTES // (64 * 4)
    assert all_.max_batch_text_bytes == one.max_batch_text_bytes // 4
    assert from_json(to_json(all_)) == all_
    for spec in (plain, all_):
        counts = [len(batch.items) for batch in Planner(Store(tmp_path / "out"), spec).fresh()]
        assert counts == [20]


def test_batches_are_cut_where_vectors_would_be_too_many(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("".join(f"{'river ' * 100}\n" for _ in range(20)))
    spec = spec_of(corpus, tiny_model, "last")
    monkeypatch.setattr(run, "BATCH_VECTOR_BYTES", 100 * 2**10)
    planner = Planner(Store(tmp_path / "out"), spec)
    assert [len(batch.items) for batch in planner.fresh()] == [2] * 10
    assert [entry.count for entry in planner.ranges() if isinstance(entry, PlanEntry)] == [2] * 10


def test_a_document_of_too_many_vectors_is_set_aside(
    tiny_model: Path, small_corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(small_corpus, tiny_model, "last", long=LongTexts(Long.WINDOW), max_tokens=50)
    monkeypatch.setattr(run, "DOCUMENT_VECTOR_BYTES", 256 * 100)
    extracted = extract(spec, ["river " * 30, "river " * 3000])
    assert [(reject.id, reject.reason) for reject in extracted.rejects] == [("1", Reason.TOO_LONG)]
    assert "100 are allowed" in extracted.rejects[0].detail


def test_groups_of_rows_are_small_where_rows_have_many_vectors(
    tiny_model: Path, small_corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = extract(spec_of(small_corpus, tiny_model, "last"), ["the river"] * 40).table
    assert row_group_rows(table) >= 40
    monkeypatch.setattr(schema, "ROW_GROUP_BYTES", table.nbytes // 4 + 1)
    assert row_group_rows(table) == 10
    assert row_group_rows(table.drop_columns(["token_vectors"])) == schema.ROW_GROUP_ROWS
    assert row_group_rows(table.slice(0, 0)) == schema.ROW_GROUP_ROWS


def test_rows_come_back_from_small_groups_and_out_of_slices(
    tiny_model: Path, small_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["the river " * (number % 7) + str(number) for number in range(50)]
    form = VectorForm(storage=Storage.FLOAT16)
    for spec in (
        spec_of(small_corpus, tiny_model, "last", "split"),
        spec_of(small_corpus, tiny_model, "all", vectors=form),
    ):
        whole = extract(spec, texts).table
        # As a replay puts a part together again: stretches of two tables.
        table = pa.concat_tables([whole.slice(0, 3), whole.slice(3, 30), whole.slice(33)])
        monkeypatch.setattr(schema, "ROW_GROUP_BYTES", table.nbytes // 9)
        with pq.ParquetWriter(tmp_path / "part.parquet", table.schema, **writer_options(table.schema)) as writer:
            writer.write_table(table, row_group_size=row_group_rows(table))
        with pq.ParquetFile(tmp_path / "part.parquet") as file:
            assert file.num_row_groups > 8
            assert file.read().equals(whole)


def test_equal_texts_are_computed_once(tiny_model: Path, small_corpus: Path) -> None:
    long = LongTexts(Long.WINDOW, 3)
    spec = spec_of(small_corpus, tiny_model, "last", "split", long=long, max_tokens=12, batch_invariant=True)
    texts = [
        "the river fills the quiet water, and then some",
        "a",
        "a",
        "the river fills the quiet water, and then some",
    ]
    documents = [Document(str(n), text, None, Origin("memory", n, 0)) for n, text in enumerate(texts)]
    once = Extractor(spec, token_budget=4000, once=True).extract(Batch(0, 0, [*documents]))
    assert once.repeated == 2
    assert once.table.equals(extract(spec, texts).table)


REFUSED = [
    (("last", None), {"pair": "pair"}, "--tokens cannot be had with --pair-column"),
    ((None, "split"), {"vectors": VectorForm(storage=Storage.INT8)}, "--words cannot be had with --vectors int8"),
    (("last", None), {"vectors": VectorForm(storage=Storage.BINARY), "embed": ("mean",)}, "--vectors binary"),
    (
        *(("last", None), {"vectors": VectorForm(normalize=True)}),
        "--tokens cannot be had with --normalize: that is for one vector per document. Leave --normalize out, or add",
    ),
    (
        *(("last", "split"), {"vectors": VectorForm(8, True, Storage.INT8)}),
        "--tokens cannot be had with --dimensions, --normalize and --vectors int8: these are for one vector per "
        "document. Leave --dimensions and --normalize out, and use --vectors float32 or float16.",
    ),
    (
        *(("last", None), {"vectors": VectorForm(8, True, Storage.INT8), "embed": ("mean",)}),
        "--tokens cannot be had with --vectors int8: that is for one vector per document. Use float32 or float16.",
    ),
    (
        *((None, None), {"vectors": VectorForm(8, storage=Storage.FLOAT16), "questions": AskedQuestions(fill_mask=1)}),
        "--dimensions and --vectors float16 are about embeddings, of which none is asked for. Add --embed, or leave "
        "them out.",
    ),
    (("3", None), {}, "--tokens 3: there is no layer 3, the model has 2"),
    (("", None), {}, "--tokens : '' is no layer"),
    (("2..1", None), {}, "layers from 2 to 1 are none"),
    (("1,1", None), {}, "--tokens 1,1 names a layer twice"),
    (("1:2,2", None), {}, "not every layer has a weight"),
    ((None, "moses"), {}, "--words moses: there are no such words. Wanted split|blanks[@LAYERS]"),
    ((None, "split@"), {}, "'' is no layer"),
    ((None, "blanks@first"), {}, "--words blanks@first: 'first' is no layer"),
]


@pytest.mark.parametrize(("asked", "options", "wanted"), REFUSED, ids=[wanted for _, _, wanted in REFUSED])
def test_what_cannot_be_had_is_refused(
    asked: tuple[str | None, str | None], options: dict[str, Any], wanted: str, tiny_model: Path, tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"text": "a", "pair": "b"}\n')
    with pytest.raises(UsageError) as caught:
        spec_of(corpus, tiny_model, *asked, **options)
    assert wanted in str(caught.value)
    assert "\n" not in str(caught.value)
