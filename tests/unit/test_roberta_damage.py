"""Damaged checkpoints: refused in one line, whatever is damaged; never a traceback."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.errors import InputError
from pipelines.roberta.checkpoint import find

WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        find(str(folder))
    assert "\n" not in str(caught.value)
    return str(caught.value)


SETTINGS = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(data=st.data(), name=st.sampled_from(["config.json", "tokenizer.json", "tokenizer_config.json", WEIGHTS]))
@SETTINGS
def test_damage_is_refused_in_one_line_or_does_no_harm(folder: Path, data: st.DataObject, name: str) -> None:
    original, message = (folder / name).read_bytes(), ""
    reach = min(len(original), 6000)  # all of a header, where damage shows
    try:
        start = data.draw(st.integers(0, reach - 1))
        patch = data.draw(
            st.one_of(st.binary(max_size=12), st.sampled_from([b"null", b"-1", b"[]", b"{}", b'"', b"1e999"]))
        )
        length = data.draw(st.integers(0, 20))
        (folder / name).write_bytes(original[:start] + patch + original[start + length :])
        find(str(folder))
    except InputError as error:
        message = str(error)
    finally:
        (folder / name).write_bytes(original)
    assert "\n" not in message
    assert len(message) < 1000


@pytest.mark.parametrize("part", [0, 4, 8, 100, 0.5, -1])
def test_cut_off_weights_are_refused(folder: Path, part: float) -> None:
    content = (folder / WEIGHTS).read_bytes()
    size = int(len(content) * part) if isinstance(part, float) else part
    (folder / WEIGHTS).write_bytes(content[:size])
    assert WEIGHTS in refusal(folder)


@pytest.mark.parametrize("name", ["config.json", WEIGHTS, "tokenizer.json"])
def test_folders_and_loops_in_place_of_files_are_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()
    assert refusal(folder)
    (folder / name).rmdir()
    os.symlink(name, folder / name)
    assert refusal(folder)
