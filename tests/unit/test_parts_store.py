"""The store: names that stay inside, one winner of many, whole files or none, one-line errors."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipelines.errors import ForeignFolderError, InfrastructureError
from pipelines.parts import store as store_module
from pipelines.parts.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "out")
    made.create()
    return made


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "..", "../x", "a/../b", "a\\b", "a\0b", "a//b", "./a", "a/", "a/./b"]
)
def test_names_that_are_not_clean_are_refused(store: Store, name: str) -> None:
    with pytest.raises(ValueError, match="this is a bug"):
        store.put_if_absent(name, b"")


@pytest.mark.parametrize("link", ["data", "data/part"])
def test_a_symbolic_link_out_of_the_folder_is_refused(store: Store, tmp_path: Path, link: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "part").write_bytes(b"secret")
    path = store.root / link
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(outside if link == "data" else outside / "part")
    for act in (lambda: store.read("data/part"), lambda: store.put_if_absent("data/part", b"")):
        with pytest.raises(ForeignFolderError, match="outside of the folder"):
            act()
    assert (outside / "part").read_bytes() == b"secret"


@pytest.mark.parametrize("link", ["data", "data/part"])
def test_nothing_is_resolved_where_no_link_is_and_a_link_that_comes_later_is_seen(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str
) -> None:
    """A look for a part is made a million times in a long run."""
    store.put_if_absent("data/part", b"1")
    resolve, resolved = os.path.realpath, []
    monkeypatch.setattr(os.path, "realpath", lambda path: (resolved.append(path), resolve(path))[1])
    assert store.exists("data/part")
    assert not store.exists("data/other")
    assert not store.exists("data/part/below")
    assert resolved == []
    (store.root / link).rename(tmp_path / "outside")
    (store.root / link).symlink_to(tmp_path / "outside")
    with pytest.raises(ForeignFolderError, match="outside of the folder"):
        store.exists("data/part")


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert Store(tmp_path / "link").put_if_absent("a/b", b"1")
    assert (tmp_path / "real/a/b").read_bytes() == b"1"


def test_a_folder_that_was_removed_is_not_brought_back(store: Store) -> None:
    store.put_if_absent("data/part", b"1")
    temporary = store.new_temporary()
    temporary.write_bytes(b"2")
    shutil.rmtree(store.root)
    for act in (
        lambda: store.put_if_absent("data/part", b"2"),
        lambda: store.replace("a", b"2"),
        lambda: store.append("_tmp/receipts", b"2"),
        lambda: store.publish(temporary, "data/part"),
        store.new_temporary,
    ):
        with pytest.raises(InfrastructureError, match="cannot write"):
            act()
    assert not store.root.exists()


def test_the_first_writer_wins(store: Store) -> None:
    assert store.put_if_absent("a/b", b"first")
    assert not store.put_if_absent("a/b", b"second")
    assert store.read("a/b") == b"first"
    assert store.list("_tmp") == []


def test_replace_overwrites_in_one_step(store: Store) -> None:
    store.replace("a", b"first")
    store.replace("a", b"second")
    assert store.read("a") == b"second"
    assert store.list("_tmp") == []


def test_files_get_the_mode_that_the_umask_says(store: Store) -> None:
    before = os.umask(0o027)
    try:
        store.put_if_absent("a", b"")
        store.replace("b", b"")
        store.replace("c", b"", mode=0o600)
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(store.path(name).stat().st_mode) for name in "abc"]
    assert modes == [0o640, 0o640, 0o600]


def test_of_64_threads_one_wins(store: Store) -> None:
    barrier, outcomes = threading.Barrier(64), []

    def contend(number: int) -> None:
        barrier.wait()
        outcomes.append((store.put_if_absent("data/part", b"%d" % number), number))

    threads = [threading.Thread(target=contend, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [number for won, number in outcomes if won]
    assert len(outcomes) == 64
    assert store.read("data/part") == b"%d" % winner
    assert store.list("_tmp") == []


def test_of_several_processes_one_wins_each_name(store: Store) -> None:
    script = (
        "import sys; from pathlib import Path; from pipelines.parts.store import Store\n"
        "store = Store(Path(sys.argv[1])); sys.stdin.readline()\n"
        "print(sum(store.put_if_absent(f'data/{n}', sys.argv[2].encode() * 10_000) for n in range(50)))"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(store.root), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    wins = [int(child.communicate()[0]) for child in children]
    assert sum(wins) == 50
    for name in store.list("data"):
        content = store.read(f"data/{name}")
        assert content == content[:1] * 10_000


def test_without_hard_links_the_first_writer_wins_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(store_module.os, "link", no_links)
    assert store.put_if_absent("a", b"first")
    assert not store.put_if_absent("a", b"second")
    assert store.read("a") == b"first"
    assert store.probe_put_if_absent()
    assert store.list("_tmp") == []


def test_a_link_whose_answer_was_lost_is_a_win(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def twice(source: Path, target: Path) -> None:
        link(source, target)
        link(source, target)

    monkeypatch.setattr(store_module.os, "link", twice)
    assert store.put_if_absent("a", b"first")


def test_the_probe_sees_a_storage_that_overwrites(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store.probe_put_if_absent()
    monkeypatch.setattr(store_module.os, "link", os.replace)
    assert not store.probe_put_if_absent()


def test_temporaries_of_the_dead_are_swept_and_receipts_stay(store: Store) -> None:
    old, young = store.new_temporary(), store.new_temporary()
    for path in (old, young):
        path.write_bytes(b"")
    os.utime(old, (time.time() - 100_000,) * 2)
    store.append("_tmp/receipts-a.jsonl", b"{}")
    os.utime(store.path("_tmp/receipts-a.jsonl"), (0, 0))
    assert store.sweep_temporaries(86_400) == 1
    assert store.list("_tmp") == ["receipts-a.jsonl", young.name]


def test_missing_files(store: Store) -> None:
    assert not store.exists("a/b")
    assert store.read_if_present("a") is None
    assert store.list("a") == []
    assert not store.remove("a")
    with pytest.raises(FileNotFoundError):
        store.read("a")


def test_errors_of_the_system_are_one_line_with_a_hint(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put_if_absent("b", b"")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store_module.os, "fsync", full)
    with pytest.raises(InfrastructureError, match=r": cannot write: No space left on device\. Free some space"):
        store.put_if_absent("a", b"")
    assert not store.exists("a")
    assert store.list("_tmp") == []


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(InfrastructureError, match="cannot write"):
        Store(tmp_path / "out").put_if_absent("a/b", b"")
