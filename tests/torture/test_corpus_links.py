"""Links, special files and folders as an attacker leaves them in a corpus: only what was named is read."""

import os
import threading

import pytest

from pipelines.corpus import CorpusOptions, discover, open_corpus
from pipelines.errors import CorpusChangedError, InputError
from pipelines.spec import CorpusSpec, Format, Shard

LINE = b'{"text": "a"}\n'


@pytest.fixture
def corpus(tmp_path):
    """``corpus`` with one file, and beside it ``secret.jsonl`` and a folder ``secrets``."""
    for name in ("corpus/a.jsonl", "secret.jsonl", "secrets/b.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(LINE)
    return tmp_path / "corpus"


def found(argument):
    return [shard.name for shard in discover([str(argument)], CorpusOptions()).shards]


@pytest.mark.parametrize("target", ["../secret.jsonl", "../secrets", "/etc/passwd", "/", "..", "../corpus-2/c.jsonl"])
@pytest.mark.parametrize("pattern", ["", "*", "**", "**/*.jsonl", "*/*"])
def test_a_link_out_of_a_folder_or_glob_is_refused_in_one_line(corpus, target, pattern):
    beside = corpus.parent / "corpus-2"  # a name that begins as the corpus does is not in it
    beside.mkdir()
    (beside / "c.jsonl").write_bytes(LINE)
    (corpus / "sub").mkdir()
    (corpus / "sub" / "out.jsonl").symlink_to(os.path.relpath(corpus / target, corpus / "sub"))
    with pytest.raises(InputError) as caught:
        found(corpus / pattern)
    assert "out.jsonl" in caught.value.message
    assert f"leads out of {corpus}, to /" in caught.value.message
    assert "argument of its own" in caught.value.hint
    assert "\n" not in str(caught.value)


def test_a_link_that_is_the_argument_is_followed(corpus):
    (corpus.parent / "file").symlink_to(corpus / "a.jsonl")
    (corpus.parent / "folder").symlink_to(corpus)
    assert found(corpus.parent / "file") == ["file"]
    assert found(corpus.parent / "folder") == ["a.jsonl"]
    assert found(f"{corpus.parent}/folder/*.jsonl") == ["a.jsonl"]


def test_links_inside_are_followed_and_no_folder_is_read_twice(corpus):
    (corpus / "linked.jsonl").symlink_to("a.jsonl")
    (corpus / "loop").symlink_to(".")
    (corpus / "_store").mkdir()
    (corpus / "_store" / "s.jsonl").write_bytes(LINE)
    (corpus / "shown").symlink_to("_store")
    (corpus / "again").symlink_to("shown")
    assert found(corpus) == ["a.jsonl", "again/s.jsonl", "linked.jsonl"]


def test_2_to_the_30_ways_to_a_folder_are_one(corpus):
    for number in range(30):
        folder = corpus / f"d{number}"
        folder.mkdir()
        (folder / "left").symlink_to(f"../d{number + 1}")
        (folder / "right").symlink_to(f"../d{number + 1}")
    (corpus / "d30").mkdir()
    (corpus / "d30" / "end.jsonl").write_bytes(LINE)
    assert found(corpus) == ["a.jsonl", "d30/end.jsonl"]


def test_names_are_shown_on_one_line(corpus):
    (corpus / "a\nINFO sealed\x1b[2J.jsonl").symlink_to("nowhere")
    with pytest.raises(InputError, match="link to nothing") as caught:
        found(corpus)
    assert str(caught.value).isprintable()


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(corpus):
    path = corpus / "a.jsonl"
    for format_ in (Format.JSONL, Format.PARQUET, Format.ARROW):
        path.unlink()
        os.mkfifo(path)
        shard = Shard(str(path), "a", format_, "none", 0, 0)
        with pytest.raises(CorpusChangedError, match="no regular file any more"):
            list(open_corpus(CorpusSpec((shard,))))


def test_files_that_come_and_go_while_they_are_listed(corpus):
    """Every outcome is a list or one clear line."""
    done = threading.Event()

    def disturb():
        while not done.is_set():
            for name in ("x.jsonl", "y.jsonl"):
                (corpus / name).write_bytes(LINE)
            for name in ("x.jsonl", "y.jsonl"):
                (corpus / name).unlink()

    thread = threading.Thread(target=disturb)
    thread.start()
    outcomes, refusals = set(), set()
    try:
        for _ in range(300):
            try:
                outcomes.add(tuple(found(corpus)))
            except InputError as error:
                refusals.add(str(error))
    finally:
        done.set()
        thread.join()
    assert all(names[0] == "a.jsonl" for names in outcomes)
    assert all(str(corpus) in refusal and "\n" not in refusal for refusal in refusals)
