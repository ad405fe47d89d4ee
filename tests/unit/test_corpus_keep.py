"""Kept columns: the option, their types, and values that rebuild the column exactly."""

import datetime
import decimal
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.corpus import CorpusOptions, KeepOption, discover, open_corpus, parse_keep
from pipelines.documents import Reason, Stage
from pipelines.errors import InputError, UsageError


def opened(path, *keep):
    spec = discover([str(path)], CorpusOptions(keep=tuple(map(parse_keep, keep))))
    return spec, open_corpus(spec)


def json_lines(path, values):
    path.write_text("".join(json.dumps({"text": "t", "k": value}) + "\n" for value in values))
    return path


def kept(path, option="k"):
    """The type of the one kept column, its values, and the details of the warnings."""
    spec, reader = opened(path, option)
    values, warnings = [], []
    for item in reader:
        values.append(item.kept[0])
        warnings += reader.take_warnings()
    pa.array(values, type=spec.keep[0].field.type)
    return spec.keep[0].type, values, warnings


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("a", KeepOption("a")),
        ("a:int64", KeepOption("a", "int64")),
        ("a=b", KeepOption("a", None, "b")),
        ("a:timestamp[us]=b", KeepOption("a", "timestamp[us]", "b")),
        ("dc:title:json=dc:title", KeepOption("dc:title", "json", "dc:title")),
    ],
)
def test_the_option(text, option):
    assert parse_keep(text) == option


@pytest.mark.parametrize("text", ["", ":int64", "a:", "a=", "a:nope", "=b", "a:arrow:AAAA", "a:b=c"])
def test_options_that_are_none(text):
    with pytest.raises(UsageError):
        parse_keep(text)


def test_two_kept_columns_of_one_name(tmp_path):
    with pytest.raises(UsageError, match="called 'k'"):
        opened(json_lines(tmp_path / "a.jsonl", [1]), "k", "text=k")


@pytest.mark.parametrize(
    ("values", "type_name", "wanted"),
    [
        ([1, None, -2], "int64", [1, None, -2]),
        ([1, 2.5], "double", [1.0, 2.5]),
        ([True, None], "bool", [True, None]),
        (["a", ""], "string", ["a", ""]),
        ([{"a": [1]}, None], "json", ['{"a":[1]}', None]),
        ([None, None], "json", [None, None]),
        ([1, "a"], "json", ["1", '"a"']),
        ([2**63], "json", [str(2**63)]),
        ([2**64 + 1, 7], "json", [str(2**64 + 1), "7"]),
        ([{"a": [10**30, "é"]}, -1e300], "json", [f'{{"a":[{10**30},"é"]}}', "-1e+300"]),
    ],
)
def test_types_of_json_values(tmp_path, values, type_name, wanted):
    assert kept(json_lines(tmp_path / "a.jsonl", values)) == (type_name, wanted, [])


def test_a_value_after_the_first_ten_thousand_documents_that_does_not_fit(tmp_path):
    path = json_lines(
        tmp_path / "a.jsonl", [*range(10_000), "x\ud800".encode("utf-8", "replace").decode(), 3.0, 1.5, 2**63]
    )
    type_name, values, warnings = kept(path)
    assert type_name == "int64"
    assert values[10_000:] == [None, 3, None, None]
    assert [(note.stage, note.reason) for note in warnings] == [(Stage.WARNING, Reason.KEPT_VALUE)] * 3
    assert warnings[0].excerpt == "x?"
    assert warnings[0].origin.line == 10_001
    assert "'k'" in warnings[0].detail


def test_csv_is_text_unless_a_type_is_given(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,k\nt,07\nt,\nt,x\n")
    assert kept(path) == ("string", ["07", "", "x"], [])
    type_name, values, warnings = kept(path, "k:int64")
    assert (type_name, values, len(warnings)) == ("int64", [7, None, None], 1)


@pytest.mark.parametrize(
    ("name", "wanted"), [("int", "int64"), ("float", "double"), ("str", "string"), ("bool", "bool")]
)
def test_types_may_be_called_as_in_python(name, wanted):
    assert parse_keep(f"k:{name}=n") == KeepOption("k", wanted, "n")


@pytest.mark.parametrize(
    ("type_name", "cells", "wanted"),
    [
        ("bool", ["true", "False", "1"], [True, False, True]),
        ("double", ["1e3", "nan", "-.5"], None),
        ("float32", ["1e39", "1"], [None, 1.0]),
        ("int8", ["127", "128", "1_0"], [127, None, None]),
        ("uint8", ["255", "-1"], [255, None]),
        ("date32", ["1970-01-02", "x"], [1, None]),
        ("timestamp[ns]", ["1970-01-01T00:00:00.000000001"], [1]),
        ("json", ['{"a": 1}', "{"], ['{"a":1}', None]),
    ],
)
def test_types_that_are_asked_for(tmp_path, type_name, cells, wanted):
    path = tmp_path / "a.tsv"
    path.write_text("text\tk\n" + "".join(f"t\t{cell}\n" for cell in cells))
    found, values, warnings = kept(path, f"k:{type_name}")
    assert found == type_name
    assert len(warnings) == values.count(None)
    if wanted is not None:
        assert values == wanted


COLUMNS = [
    pa.array([1, None], pa.uint8()),
    pa.array([0.5, None], pa.float16()),
    pa.array([True, None]),
    pa.array(["a", None], pa.large_string()),
    pa.array([b"\xff", None]),
    pa.array([b"ab", None], pa.binary(2)),
    pa.array([1, None], pa.timestamp("ns", "Europe/Berlin")),
    pa.array([1, None], pa.timestamp("s")),
    pa.array([1, None], pa.date32()),
    pa.array([1, None], pa.time64("ns")),
    pa.array([1, None], pa.duration("ns")),
    pa.array([decimal.Decimal("1.20"), None], pa.decimal128(9, 2)),
    pa.array([[1, None], None], pa.list_(pa.int16())),
    pa.array([[1, 2], None], pa.list_(pa.int16(), 2)),
    pa.array([[1], None], pa.list_(pa.timestamp("ns"))),
    pa.array(
        [{"a": 1, "b": [datetime.date(2020, 1, 1)]}, None], pa.struct({"a": pa.time32("s"), "b": pa.list_(pa.date32())})
    ),
    pa.array([[("x", 1)], None], pa.map_(pa.string(), pa.timestamp("ns"))),
    pa.array([None, None], pa.null()),
]


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: str(column.type))
@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_arrow_columns_are_rebuilt_exactly(tmp_path, column, kind):
    path = tmp_path / f"a.{kind}"
    table = pa.table({"text": ["t", "u"], "k": column})
    if kind == "parquet":
        pq.write_table(table, path)
        column = pq.read_table(path)["k"].combine_chunks()
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    spec, reader = opened(path, "k")
    values = [item.kept[0] for item in reader]
    assert pa.array(values, type=spec.keep[0].field.type).equals(column)
    assert reader.take_warnings() == []


def test_dictionaries_are_kept_decoded(tmp_path):
    table = pa.table({"text": ["t", "u"], "k": pa.array(["a", None]).dictionary_encode()})
    path = tmp_path / "a.arrow"
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    assert kept(path) == ("string", ["a", None], [])


def test_text_that_is_not_utf8_becomes_null_and_a_warning(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["t", "u"], "k": pa.array([b"\xff", b"b"]).view(pa.string())}), path)
    type_name, values, (warning,) = kept(path)
    assert (type_name, values, warning.excerpt) == ("string", [None, "b"], "\\xff")


def test_files_that_disagree_about_a_type(tmp_path):
    pq.write_table(pa.table({"text": ["t"], "k": pa.array([1], pa.int32())}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["t"], "k": pa.array([2], pa.int64())}), tmp_path / "b.parquet")
    assert kept(tmp_path) == ("int64", [1, 2], [])
    pq.write_table(pa.table({"text": ["t"], "k": pa.array(["x"])}), tmp_path / "c.parquet")
    with pytest.raises(InputError, match=r"different types: .*int32.*--keep k:json"):
        kept(tmp_path)
    assert kept(tmp_path, "k:json") == ("json", ["1", "2", '"x"'], [])
    assert kept(tmp_path, "k:string") == ("string", ["1", "2", "x"], [])


def test_a_nested_value_with_text_that_is_not_utf8_becomes_null_and_a_warning(tmp_path):
    names = pa.array([b"\xff", b"b"]).view(pa.string())
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["t", "u"], "k": pa.StructArray.from_arrays([names], ["name"])}), path)
    _, values, (warning,) = kept(path)
    assert values == [None, {"name": "b"}]
    assert "'k'" in warning.detail
