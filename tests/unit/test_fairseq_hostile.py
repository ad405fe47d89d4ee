"""Pickles, archives and files that are out to do harm, or damaged: refused in one line, nothing run, nothing left."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit import fairseq_models

from pipelines.errors import InputError, PenstockError, UsageError
from pipelines.roberta.fairseq import archive
from pipelines.roberta.fairseq.importing import import_fairseq
from pipelines.roberta.fairseq.reading import read_model
from pipelines.roberta.fairseq.torch_file import read_torch_file


@pytest.fixture(scope="module", params=["zip", "legacy"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint's folder, in each of the two file formats."""
    state = fairseq_models.state(heads={"mnli": 3})
    root = {"args": fairseq_models.arguments(), "model": state} | fairseq_models.extras(state)
    return fairseq_models.write(tmp_path_factory.mktemp("source"), root, legacy=request.param == "legacy")


def refusal(path: Path, out: Path) -> str:
    with pytest.raises(InputError) as caught:
        import_fairseq(path, out / "made")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert list(out.glob("*made*")) == []
    return str(caught.value)


class Harmful:
    """Its pickle runs a command."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self._path}",)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("place", ["args", "model", "extra_state"])
def test_a_pickle_that_runs_a_command_is_refused_and_runs_nothing(place: str, legacy: bool, tmp_path: Path) -> None:
    harm = tmp_path / "harm"
    root: dict[str, Any] = {"args": fairseq_models.arguments(), "model": fairseq_models.state()}
    if place == "args":
        root["args"].hook = Harmful(harm)
    else:
        root[place] = {"layer": Harmful(harm)}
    fairseq_models.write(tmp_path / "source", root, legacy=legacy)
    assert "'posix.system'" in refusal(tmp_path / "source", tmp_path)
    torch.load(tmp_path / "source" / "model.pt", weights_only=False)
    assert harm.exists(), "it would have done its harm"


SETTINGS = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


@given(data=st.data())
@SETTINGS
def test_damage_is_refused_in_one_line_or_does_no_harm(source: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = (source / "model.pt").read_bytes()
    place = content.find(b"optimizer_history") if data.draw(st.booleans()) else 0
    start = place + data.draw(st.integers(0, 4000))
    patch = data.draw(st.one_of(st.binary(max_size=8), st.sampled_from([b"\xff\xff\xff\xff", b"R", b"cos\nsystem\n"])))
    damaged = tmp_path / "damaged.pt"
    damaged.write_bytes(content[:start] + patch + content[start + data.draw(st.integers(0, 12)) :])
    message = ""
    try:
        read_model(read_torch_file(damaged), None)
    except (InputError, UsageError) as error:
        message = str(error)
    assert "\n" not in message
    assert len(message) < 1000


@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_a_file_that_is_cut_off_is_refused(source: Path, part: float, tmp_path: Path) -> None:
    content = (source / "model.pt").read_bytes()
    for name in ("dict.txt", "vocab.bpe"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    (tmp_path / "model.pt").write_bytes(content[: int(len(content) * part)])
    assert refusal(tmp_path / "model.pt", tmp_path)


def test_a_flipped_bit_in_a_tensor_is_seen_by_the_checksum(source: Path, tmp_path: Path) -> None:
    content = bytearray((source / "model.pt").read_bytes())
    if not content.startswith(b"PK"):
        pytest.skip("files of 2019 have no checksums")
    with zipfile.ZipFile(source / "model.pt") as opened:
        largest = max(opened.infolist(), key=lambda entry: entry.file_size)
    content[largest.header_offset + 200] ^= 1
    for name in ("dict.txt", "vocab.bpe"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    (tmp_path / "model.pt").write_bytes(content)
    assert "checksum" in refusal(tmp_path / "model.pt", tmp_path)


def test_a_zip_that_was_packed_again_or_has_a_file_twice_is_refused(tmp_path: Path) -> None:
    for name, compression in (("packed.pt", zipfile.ZIP_DEFLATED), ("twice.pt", zipfile.ZIP_STORED)):
        with zipfile.ZipFile(tmp_path / name, "w", compression) as made:
            made.writestr("model/data.pkl", pickle.dumps({}, 2))
            if name == "twice.pt":
                with pytest.warns(UserWarning, match="Duplicate"):
                    made.writestr("model/data.pkl", pickle.dumps({}, 2))
        assert ("packed again" if name == "packed.pt" else "twice") in refusal(tmp_path / name, tmp_path)


def packed(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as made:
        for member, content in members:
            member.size = len(content) if member.isreg() else 0
            made.addfile(member, io.BytesIO(content))
    return path


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (entry("../model.pt"), "leads out"),
        (entry("/tmp/model.pt"), "leads out"),
        (entry("a/../../model.pt"), "leads out"),
        (entry("model.pt", tarfile.SYMTYPE, "/etc/passwd"), "link"),
        (entry("dict.txt", tarfile.LNKTYPE, "/etc/passwd"), "link"),
        (entry("model.pt", tarfile.CHRTYPE), "device"),
        (entry("model.pt", tarfile.FIFOTYPE), "device"),
        (entry("readme.txt"), "no model"),
    ],
)
def test_an_archive_that_leads_astray_is_refused(member: tarfile.TarInfo, said: str, tmp_path: Path) -> None:
    path = packed(tmp_path / "x.tar.gz", (member, b"x"))
    assert said in refusal(path, tmp_path)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["x.tar.gz"]


def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = entry("././@PaxHeader", tarfile.XHDTYPE)
    header.size = 2**40
    with gzip.open(tmp_path / "pax.tar.gz", "wb") as made:
        made.write(header.tobuf(tarfile.GNU_FORMAT) + bytes(10_000))
    assert "length" in refusal(tmp_path / "pax.tar.gz", tmp_path)
    monkeypatch.setattr(archive, "FREE_BYTES", 2**20)
    bomb = packed(tmp_path / "bomb.tar.gz", (entry("model.pt"), bytes(2**24)))
    assert "bomb" in refusal(bomb, tmp_path)
    header = entry("model.pt")
    header.size = 2**50
    with gzip.open(tmp_path / "huge.tar.gz", "wb") as made:
        made.write(header.tobuf(tarfile.GNU_FORMAT) + bytes(10_000))
    assert "bomb" in refusal(tmp_path / "huge.tar.gz", tmp_path)
    monkeypatch.setattr(archive, "MAX_MEMBERS", 3)
    many = packed(tmp_path / "many.tar.gz", *((entry(f"{number}.txt"), b"") for number in range(5)))
    assert "more than 3 files" in refusal(many, tmp_path)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.98])
@pytest.mark.parametrize("mode", ["gz", "bz2", "xz", ""])
def test_an_archive_that_is_cut_off_is_refused(source: Path, mode: str, part: float, tmp_path: Path) -> None:
    path = tmp_path / "whole.tar"
    with tarfile.open(path, f"w:{mode}") as made:  # type: ignore[call-overload]  # the mode is put together here
        made.add(source / "model.pt", "roberta/model.pt")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    assert refusal(path, tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 600, b"\x1f\x8b", b"PK\x03\x04", b"\x80\x02}."])
def test_what_is_no_checkpoint_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    assert refusal(tmp_path / "model.pt", tmp_path)


def test_pipes_and_what_is_not_there_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt")
    for name in ("pipe.pt", "nothing.pt", "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        assert refusal(tmp_path / name, tmp_path)


def test_a_folder_that_holds_something_is_left_alone(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(PenstockError, match="not an empty folder") as caught:
        import_fairseq(source, tmp_path / "out")
    assert caught.value.exit_code == 4
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
