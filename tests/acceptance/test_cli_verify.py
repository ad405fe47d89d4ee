"""`penstock verify` sees whatever differs from the manifest, and says how to mend it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from acceptance.conftest import Ask, Sealed


@pytest.fixture
def copy(sealed: Sealed, tmp_path: Path) -> Path:
    """A dataset to damage. It has moved, too."""
    out = tmp_path / "copy"
    shutil.copytree(sealed.out, out)
    return out


def _flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a bit in the rows": (lambda out: _flip(out / "data" / "part-00000001.parquet", 400), "part-00000001.parquet"),
    "a bit in the footer": (lambda out: _flip(out / "data" / "part-00000002.parquet", -9), "part-00000002.parquet"),
    "a missing part": (lambda out: (out / "data" / "part-00000000.parquet").unlink(), "00000000.parquet is missing"),
    "an unlisted part": (
        lambda out: shutil.copy(out / "data" / "part-00000000.parquet", out / "data" / "part-00000003.parquet"),
        "part-00000003.parquet is not in the manifest",
    ),
    "a foreign file": (lambda out: (out / "data" / "notes.txt").write_text("x"), "notes.txt is not in the manifest"),
    "a bit in the manifest": (lambda out: _flip(out / "_manifest.json", -40), "_manifest.json"),
    "a forgotten seal": (lambda out: (out / "_SUCCESS").unlink(), "_SUCCESS is missing"),
    "a lost card": (lambda out: (out / "README.md").unlink(), "README.md is missing"),
    "foreign evidence": (
        lambda out: ((out / "_quarantine").mkdir(), (out / "_quarantine" / "x.parquet").touch()),
        "x.parquet belongs to no part",
    ),
}  # fmt: skip


def test_an_untouched_dataset_verifies_wherever_it_is(copy: Path, ask: Ask) -> None:
    assert ask("verify", copy).out == f"{copy}: everything is as its manifest says.\n"
    assert ask("verify", copy, "--json").value == {"out": str(copy), "verified": True, "differences": []}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_6(name: str, copy: Path, ask: Ask) -> None:
    damage, said = DAMAGE[name]
    damage(copy)
    answer = ask("verify", copy)
    assert answer.code == 6
    assert said in answer.refusal
    error = ask("verify", copy, "--json")
    assert error.code == 6
    assert not error.value["verified"]
    assert any(said in difference for difference in error.value["differences"])
    assert error.value["error"]["code"] == "verification"


def test_what_verify_advises_mends(copy: Path, sealed: Sealed, ask: Ask) -> None:
    _flip(copy / "data" / "part-00000001.parquet", 400)
    (copy / "data" / "notes.txt").write_text("x")
    advice = ask("verify", copy).refusal
    assert "Remove what is damaged or foreign, and _SUCCESS; then `penstock resume`" in advice
    for name in ("data/part-00000001.parquet", "data/notes.txt", "_SUCCESS"):
        (copy / name).unlink()
    answer = ask("resume", copy, "--inline", "--json")
    assert answer.code == 0, answer.err
    assert (answer.value["rows"], answer.value["out"]) == (60, str(copy))
    assert ask("verify", copy).code == 0
