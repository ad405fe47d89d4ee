"""A batch goes through Redis and comes out as it was, whatever is in it; anything else is refused."""

from __future__ import annotations

import datetime
import decimal
import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.batching import batches
from pipelines.corpus import CorpusOptions, discover, open_corpus, parse_keep
from pipelines.documents import Batch, Cursor, Document, Origin, Reason, Reject, Stage, items_digest
from pipelines.errors import BatchError, RunError
from pipelines.parts.plan import entry_of
from pipelines.spec import KeptColumn
from tasks import transport
from tasks.transport import check_planned, decode, encode

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
any_text = st.text(max_size=20)  # with lone surrogates: what evidence may hold
numbers = st.integers(0, 2**62)
cursors = st.builds(Cursor, numbers, numbers, numbers, numbers, numbers)
origins = st.builds(Origin, st.sampled_from(["/a.jsonl", "/ü/ b.csv"]), numbers, numbers)
KEEP = (
    KeptColumn("count", "int64", "count"),
    KeptColumn("ratio", "double", "ratio"),
    KeptColumn("title", "string", "title"),
    KeptColumn("flag", "bool", "flag"),
    KeptColumn("meta", "json", "meta"),
)
kept = st.tuples(
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.floats(allow_nan=False),
    st.none() | text,
    st.none() | st.booleans(),
    st.none() | text,
)
documents = st.builds(Document, text, text, st.none() | text, origins, kept)
rejects = st.builds(
    Reject,
    text,
    origins,
    st.sampled_from([Stage.READ, Stage.EXTRACT]),
    st.sampled_from(Reason),
    any_text,
    st.integers(0, 9),
    any_text,
    st.text("0123456789abcdef", max_size=64),
)
warnings = st.builds(Reject, text, origins, st.just(Stage.WARNING), st.just(Reason.KEPT_VALUE), any_text)
whole_batches = st.builds(
    Batch, numbers, numbers, st.lists(documents | rejects, max_size=8), st.lists(warnings, max_size=3), cursors, cursors
)


@given(whole_batches)
@settings(deadline=None)
def test_a_batch_comes_back_whole(batch: Batch) -> None:
    back = decode(encode(batch, KEEP), KEEP)
    assert back == batch
    assert items_digest(back.items) == items_digest(batch.items)
    assert [type(item) for item in back.items] == [type(item) for item in batch.items]


@given(whole_batches)
@settings(deadline=None)
def test_the_same_batch_gives_the_same_bytes(batch: Batch) -> None:
    assert encode(batch, KEEP) == encode(decode(encode(batch, KEEP), KEEP), KEEP)


ODD_TEXTS = [
    "\x00",
    "a\x00b",
    "\ufeff",
    "\ufffe\uffff",
    "e\u0301",
    "\u202eright",
    "👩‍👩‍👧",
    "\U0010ffff",
    "\r\n",
    " \t ",
    "</s>",
]


@pytest.mark.parametrize("odd", ODD_TEXTS, ids=ascii)
def test_odd_texts_are_not_touched(odd: str) -> None:
    document = Document(odd, odd, odd, Origin("/c", 0, 1))
    assert decode(encode(Batch(0, 0, [document]), ()), ()).items == [document]


NOW = datetime.datetime(2020, 2, 29, 23, 59, 59, 123456)
COLUMNS = {
    "timestamp_ns": pa.array([1577836800000000001, None], pa.timestamp("ns")),
    "timestamp_us": pa.array([NOW, None]),
    "timestamp_tz": pa.array([NOW, None], pa.timestamp("us", "Europe/Paris")),
    "year_9999": pa.array([253402300799, -62135596800], pa.timestamp("s")),
    "beyond_datetime": pa.array([2**50, -(2**50)], pa.timestamp("s")),
    "date32": pa.array([NOW.date(), None]),
    "date64": pa.array([NOW.date(), None], pa.date64()),
    "time": pa.array([NOW.time(), None]),
    "duration": pa.array([5, None], pa.duration("ns")),
    "decimal": pa.array([decimal.Decimal("-1.20"), None]),
    "float32": pa.array([0.1, float("nan")], pa.float32()),
    "uint64": pa.array([2**64 - 1, None], pa.uint64()),
    "binary": pa.array([b"\xff\x00", None]),
    "list": pa.array([[1, None], None]),
    "times_in_a_list": pa.array([[NOW, None], []]),
    "struct": pa.array([{"x": 1, "y": NOW}, {"x": None, "y": None}]),
    "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
    "dictionary": pa.array(["q", None]).dictionary_encode(),
    "null": pa.nulls(2),
}


def read_batch(path: Path, keep: str) -> tuple[Batch, tuple[KeptColumn, ...]]:
    spec = discover([str(path)], CorpusOptions(keep=(parse_keep(keep),)))
    with open_corpus(spec) as reader:
        (batch,) = batches(reader, max_documents=100)
    return batch, spec.keep


@pytest.mark.parametrize("column", COLUMNS)
def test_kept_columns_of_any_type_are_what_was_planned(column: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", "b"], "kept": COLUMNS[column]}), tmp_path / "c.parquet")
    batch, keep = read_batch(tmp_path / "c.parquet", "kept")
    back = decode(encode(batch, keep), keep)
    assert items_digest(back.items) == items_digest(batch.items)
    rebuilt = pa.array([document.kept[0] for document in back.documents], keep[0].field.type)
    plain = COLUMNS[column].dictionary_decode() if column == "dictionary" else COLUMNS[column]
    assert rebuilt.to_string() == plain.cast(rebuilt.type).to_string()


@pytest.mark.parametrize(
    "type_name",
    ["", "float", "halffloat", "double", "int32", "string", "json", "timestamp[ns]", "date32", "bool", "binary"],
)
def test_values_of_json_are_what_was_planned(type_name: str, tmp_path: Path) -> None:
    values = [0.1, 3, 1e39, -0.0, True, "2020-01-01", "0.1", {"b": 1, "a": [0.1]}, None, 2**70]
    rows = [json.dumps({"text": "a", "kept": value}) for value in values]
    (tmp_path / "c.jsonl").write_text("\n".join(rows))
    batch, keep = read_batch(tmp_path / "c.jsonl", f"kept:{type_name}" if type_name else "kept")
    assert len(batch.documents) == len(values)
    assert items_digest(decode(encode(batch, keep), keep).items) == items_digest(batch.items)


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_what_is_no_body_is_refused(data: bytes) -> None:
    with pytest.raises(BatchError, match="damaged"):
        decode(data, ())


def test_a_body_that_was_cut_is_refused() -> None:
    batch = Batch(3, 9, [Document(str(n), f"text {n}", None, Origin("/c", n, n), (n,)) for n in range(5)])
    body = encode(batch, KEEP[:1])
    mark_of_the_end = 8
    for size in range(len(body) - mark_of_the_end):
        with pytest.raises(BatchError, match="damaged"):
            decode(body[:size], KEEP[:1])


def test_a_stream_of_something_else_is_refused() -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, pa.schema([("x", pa.int64())])) as writer:
        writer.write_batch(pa.record_batch({"x": [1]}))
    with pytest.raises(BatchError, match="damaged"):
        decode(sink.getvalue().to_pybytes(), ())


FIVE = Batch(3, 9, [Document(str(n), f"text {n} " * 9, None, Origin("/c", n, n)) for n in range(5)])


@pytest.mark.parametrize("size", [2**63 - 1, 2**42, 2**31 + 1])
def test_a_body_that_would_become_too_much_is_not_decompressed(size: int) -> None:
    body = bytearray(encode(FIVE, ()))
    place = body.index(b"\x28\xb5\x2f\xfd") - 8  # a zstd frame, and before it the size that it says it becomes
    body[place : place + 8] = size.to_bytes(8, "little")
    with pytest.raises(BatchError, match="it says that it becomes"):
        decode(bytes(body), ())


def test_what_a_body_becomes_is_added_up_over_its_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    body = encode(FIVE, ())
    sizes = [limit for limit in range(0, 4000, 50) if _is_taken(body, limit, monkeypatch)]
    assert sizes == list(range(sizes[0], 4000, 50))
    assert sizes[0] > sum(len(item.text) for item in FIVE.documents)


def _is_taken(body: bytes, limit: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(transport, "MAX_DECODED_BYTES", limit)
    try:
        return decode(body, ()) == FIVE
    except BatchError:
        return False


def test_a_batch_that_no_worker_would_take_is_the_runs_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_DECODED_BYTES", 100)
    with pytest.raises(RunError, match=r"Batch 3 takes .* a worker accepts 100\. Start the run anew"):
        encode(FIVE, ())


def test_a_body_with_other_columns_is_refused() -> None:
    kept = Batch(0, 0, [Document("a", "b", None, Origin("/c", 0, 1), (7,))])
    for written, wanted in ((KEEP[:1], ()), (KEEP[:1], KEEP[1:2]), (KEEP[:1], KEEP[:2])):
        with pytest.raises(BatchError, match="its columns are others"):
            decode(encode(kept, written), wanted)


@pytest.mark.parametrize(
    "forged",
    [
        replace(FIVE, number=4),
        replace(FIVE, first=8),
        replace(FIVE, items=FIVE.items[:-1]),
        replace(FIVE, items=[*FIVE.items[1:], FIVE.items[0]]),
        replace(FIVE, items=[FIVE.documents[0]._replace(text="what nobody wrote"), *FIVE.items[1:]]),
        replace(FIVE, items=[FIVE.documents[0]._replace(id="another"), *FIVE.items[1:]]),
        replace(FIVE, start=Cursor(1)),
    ],
)
def test_a_body_that_was_not_planned_is_refused(forged: Batch) -> None:
    check_planned(decode(encode(FIVE, ()), ()), entry_of(FIVE))
    with pytest.raises(BatchError, match="The body of batch 3 in Redis is not what was planned"):
        check_planned(decode(encode(forged, ()), ()), entry_of(FIVE))


def test_a_body_that_redis_would_not_take_is_the_runs_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_BODY_BYTES", 100)
    with pytest.raises(RunError, match=r"Batch 7 takes .* at most 100 fit\. Start the run anew"):
        encode(Batch(7, 0, [Document("1", "a", None, Origin("/c", 0, 1))]), ())


def test_bodies_are_compressed() -> None:
    items = [Document(str(n), "the same sentence again and again " * 20, None, Origin("/c", n, n)) for n in range(200)]
    assert len(encode(Batch(0, 0, list(items)), ())) < sum(len(item.text) for item in items) / 10
