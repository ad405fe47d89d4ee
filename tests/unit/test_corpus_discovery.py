"""CORPUS arguments: which files, in which order, as what; and everything that is refused before a run begins."""

import bz2
import gzip
import io
import lzma
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from pipelines.corpus import CorpusOptions, check_unchanged, discover, open_corpus, spool
from pipelines.errors import CorpusChangedError, InputError, UsageError
from pipelines.spec import Format

LINE = b'{"text": "a"}\n'


def found(argument, **options):
    return [shard.name for shard in discover([str(argument)], CorpusOptions(**options)).shards]


def fill(tmp_path, *names, data=LINE):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)


def refused(*arguments, **options):
    with pytest.raises((InputError, UsageError)) as caught:
        discover([str(argument) for argument in arguments], CorpusOptions(**options))
    assert "\n" not in str(caught.value)
    return caught.value


def test_folders_are_read_in_the_order_of_path_bytes(tmp_path):
    fill(tmp_path, "b.jsonl", "a/x.jsonl", "a.jsonl", "é.jsonl", "Z.jsonl", "_skip.jsonl", ".skip.jsonl", "_d/a.jsonl")
    assert found(tmp_path) == ["Z.jsonl", "a.jsonl", "a/x.jsonl", "b.jsonl", "é.jsonl"]


def test_globs(tmp_path):
    fill(tmp_path, "d/b.jsonl", "d/a.jsonl", "d/e/c.jsonl", "x.txt")
    assert found(tmp_path / "d" / "*.jsonl") == ["a.jsonl", "b.jsonl"]
    assert found(tmp_path / "*" / "*.jsonl") == ["d/a.jsonl", "d/b.jsonl"]
    assert found(tmp_path / "**" / "*.jsonl") == ["d/a.jsonl", "d/b.jsonl", "d/e/c.jsonl"]
    fill(tmp_path, "d/a[1].jsonl")
    assert found(tmp_path / "d" / "a[1].jsonl") == ["a[1].jsonl"]


def test_arguments_keep_their_order_and_uris_are_absolute(tmp_path, monkeypatch):
    fill(tmp_path, "b.jsonl", "a.jsonl")
    monkeypatch.chdir(tmp_path)
    spec = discover(["b.jsonl", "a.jsonl", "./b.jsonl"], CorpusOptions())
    assert [shard.uri for shard in spec.shards] == [str(tmp_path / name) for name in ("b.jsonl", "a.jsonl", "b.jsonl")]
    assert spec.shards[0].size == len(LINE)
    assert spec.shards[0].mtime_ns == os.stat("b.jsonl").st_mtime_ns


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("name", ["a", "a.jsonl", "a.json", "a.jsonl.gz", "a.gz", "a.xz"])
def test_compression_is_seen_by_its_first_bytes(tmp_path, pack, name):
    fill(tmp_path, name, data=pack(LINE) + pack(LINE))
    (shard,) = discover([str(tmp_path / name)], CorpusOptions()).shards
    assert shard.format is Format.JSONL
    assert [item.text for item in open_corpus(discover([str(tmp_path / name)], CorpusOptions()))] == ["a", "a"]


def test_a_plain_file_with_a_suffix_of_compression_is_plain(tmp_path):
    fill(tmp_path, "a.jsonl.gz")
    assert discover([str(tmp_path / "a.jsonl.gz")], CorpusOptions()).shards[0].compression == "none"


def test_formats_by_content(tmp_path):
    table = pa.table({"text": ["a"]})
    pq.write_table(table, tmp_path / "p")
    with pa.OSFile(str(tmp_path / "f"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    with pa.OSFile(str(tmp_path / "s"), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    fill(tmp_path, "j", data=b"\xef\xbb\xbf" + LINE)
    fill(tmp_path, "t", data="Ünï\n".encode())
    formats = {name: discover([str(tmp_path / name)], CorpusOptions()).shards[0].format for name in "pfsjt"}
    assert formats == {"p": "parquet", "f": "arrow", "s": "arrow", "j": "jsonl", "t": "text"}
    fill(tmp_path, "b", data=b"\0\1\2\xff")
    assert "--format" in refused(tmp_path / "b").hint


def test_mixed_formats_are_refused_unless_one_is_picked(tmp_path):
    fill(tmp_path, "a.jsonl", "b.csv", "c.log")
    error = refused(tmp_path)
    assert "a.jsonl is jsonl, b.csv is csv" in error.message
    assert found(tmp_path, format=Format.JSONL) == ["a.jsonl", "c.log"]
    assert found(tmp_path / "b.csv", format=Format.JSONL) == ["b.csv"]


def test_json_that_is_not_json_lines_is_refused_with_the_way_to_convert_it(tmp_path):
    fill(tmp_path, "a.json", data=b'[\n{"text": "a"}\n]\n')
    assert "jq" in refused(tmp_path / "a.json").hint
    assert found(tmp_path / "a.json", format=Format.JSONL) == ["a.json"]


def test_nothing_to_read(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no such file" in refused(tmp_path / "nowhere").message
    assert "Only local files" in refused("s3://bucket/a.jsonl").hint
    assert "no file to read" in refused(tmp_path / "empty").message
    assert "matches no file" in refused(tmp_path / "*.jsonl").message
    assert isinstance(refused(), UsageError)
    os.mkfifo(tmp_path / "pipe")
    assert "regular file" in refused(tmp_path / "pipe").message


def test_columns_that_are_not_there(tmp_path):
    fill(tmp_path, "a.jsonl", data=b'{"body": "a", "n": 1}\n')
    fill(tmp_path, "a.csv", data=b"body,n\na,1\n")
    pq.write_table(pa.table({"body": ["a"], "n": [1]}), tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.csv", "a.parquet"):
        path = tmp_path / name
        default = refused(path)
        assert "--text-column" in default.message
        assert default.hint == "There are: body, n."
        named = refused(path, text_columns=("txt",))
        assert named.message == "The corpus has no column 'txt'."
        assert "'key'" in refused(path, text_columns=("body",), id_column="key").message
        assert "'p'" in refused(path, text_columns=("body",), pair_column="p").message
        assert "'text'." in refused(path, text_named=True).message
        assert found(path, text_columns=("body",)) == [name]


def test_a_column_beyond_the_first_thousand_documents_is_not_there(tmp_path):
    fill(tmp_path, "a.jsonl", data=LINE * 1000 + b'{"text": "a", "late": "b"}\n')
    assert "'late'" in refused(tmp_path / "a.jsonl", pair_column="late").message
    fill(tmp_path, "b.jsonl", data=LINE * 999 + b'{"text": "a", "late": "b"}\n')
    assert found(tmp_path / "b.jsonl", pair_column="late") == ["b.jsonl"]


def test_one_file_with_the_column_is_enough(tmp_path):
    fill(tmp_path, "a.csv", data=b"body,title\nx,y\n")
    fill(tmp_path, "b.csv", data=b"body\nz\n")
    spec = discover([str(tmp_path)], CorpusOptions(text_columns=("body",), pair_column="title"))
    assert [getattr(item, "reason", None) for item in open_corpus(spec)] == [None, "missing_text"]


def test_an_empty_corpus_refuses_no_column(tmp_path):
    fill(tmp_path, "a.jsonl", data=b"")
    assert found(tmp_path / "a.jsonl", text_columns=("body",)) == ["a.jsonl"]


def test_unreadable_encodings(tmp_path):
    fill(tmp_path, "a.txt", data="text".encode("utf-16"))
    assert "iconv" in refused(tmp_path / "a.txt").hint
    for encoding in ("utf-16", "utf-7", "cp037", "iso2022_jp", "no-such"):
        assert isinstance(refused(tmp_path / "a.txt", encoding=encoding), UsageError)


def test_options_that_contradict_each_other(tmp_path):
    fill(tmp_path, "a.jsonl")
    assert isinstance(refused(tmp_path / "a.jsonl", whole_files=True, format=Format.CSV), UsageError)
    assert isinstance(refused(tmp_path / "a.jsonl", limit=-1), UsageError)


def test_compressed_parquet_and_doubled_columns(tmp_path):
    fill(tmp_path, "a.parquet.gz", data=gzip.compress(b"PAR1"))
    assert "Decompress" in refused(tmp_path / "a.parquet.gz").hint
    fill(tmp_path, "a.csv", data=b"text,text\na,b\n")
    assert "2 columns called 'text'" in refused(tmp_path / "a.csv").message


def test_a_corpus_that_changed(tmp_path):
    fill(tmp_path, "a.jsonl", "b.jsonl")
    spec = discover([str(tmp_path)], CorpusOptions())
    check_unchanged(spec)
    os.utime(tmp_path / "b.jsonl", ns=(1, 1))
    with pytest.raises(CorpusChangedError, match=r"b\.jsonl was written to"):
        check_unchanged(spec)
    fill(tmp_path, "a.jsonl", data=LINE * 2)
    with pytest.raises(CorpusChangedError, match=r"a\.jsonl had 14 bytes"):
        check_unchanged(spec)
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(CorpusChangedError, match=r"a\.jsonl"):
        check_unchanged(spec)
    with pytest.raises(CorpusChangedError, match="is gone"):
        list(open_corpus(spec))


def test_a_spooled_stream_is_a_file_named_by_its_content(tmp_path):
    path = spool(io.BytesIO(gzip.compress(LINE)), tmp_path / "spool")
    before = path.stat().st_mtime_ns
    assert spool(io.BytesIO(path.read_bytes()), tmp_path / "spool") == path
    assert path.stat().st_mtime_ns == before
    assert list((tmp_path / "spool").iterdir()) == [path]
    assert spool(io.BytesIO(b""), tmp_path / "spool") != path
    spec = discover([str(path)], CorpusOptions(format=Format.JSONL))
    assert [item.text for item in open_corpus(spec)] == ["a"]
