"""What all storms share: the corpus, the models, and the rows that an undisturbed run makes. Made once per folder.

python -m chaos.storm_material DIR [--tiny]
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from chaos.storm_plan import DOCUMENTS

ROOT = Path(__file__).resolve().parents[2]
REJECT_EVERY = 1000
SUBJECTS = ("the river", "a pump", "our valley", "the old mill", "every turbine", "the keeper")
VERBS = ("fills", "turns", "forgets", "measures", "praises", "refuses")


@dataclass(frozen=True, slots=True)
class Material:
    """The files of a folder of material."""

    folder: Path

    @property
    def corpus(self) -> Path:
        return self.folder / "corpus.jsonl"

    def model(self, name: str) -> Path:
        return self.folder / name

    @property
    def undisturbed(self) -> Path:
        """The dataset of an inline run with the tiny model."""
        return self.folder / "undisturbed"


def text_of(number: int) -> str:
    """A short text that no other document has; empty for the documents that are to be rejected."""
    if number % REJECT_EVERY == REJECT_EVERY // 2:
        return ""
    return f"{SUBJECTS[number % 6]} {VERBS[number // 6 % 6]} number {number}"


def expected() -> tuple[list[str], list[bytes], list[str]]:
    """Ids and input digests of the rows in corpus order, and the ids of the rejects."""
    texts = [text_of(number) for number in range(DOCUMENTS)]
    ids = [f"doc-{number}" for number, text in enumerate(texts) if text]
    digests = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts if text]
    return ids, digests, [f"doc-{number}" for number, text in enumerate(texts) if not text]


def prepare(folder: Path, *, tiny: bool) -> Material:
    """Make what is not there yet, in a process of its own: it loads torch, and the storm's processes need not."""
    material = Material(folder)
    wanted = [material.corpus, material.model("noop"), *([material.undisturbed / "_SUCCESS"] if tiny else [])]
    if not all(path.exists() for path in wanted):
        command = [sys.executable, "-m", "chaos.storm_material", str(folder), *(["--tiny"] if tiny else [])]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return material


def make(material: Material, *, tiny: bool) -> None:
    """Write corpus, models and, for the tiny one, the undisturbed dataset."""
    material.folder.mkdir(parents=True, exist_ok=True)
    spec = importlib.util.spec_from_file_location("make_model", ROOT / "examples" / "make_model.py")
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    lines = [json.dumps({"id": f"doc-{number}", "text": text_of(number)}) for number in range(DOCUMENTS)]
    material.corpus.write_text("\n".join(lines) + "\n")
    texts = [text_of(number) for number in range(300)]
    sizes = {"vocab_size": 600, "max_positions": 130}
    example.make_model(texts, material.model("noop"), hidden_size=8, layers=1, heads=1, intermediate=8, **sizes)
    if tiny:
        example.make_model(texts, material.model("tiny"), **sizes)
        arguments = ["--model", material.model("tiny"), "--dtype", "float32", "--out", material.undisturbed, "--inline"]
        command = [sys.executable, "-m", "worker", "run", material.corpus, *arguments, "--json"]
        subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """The command line of this file."""
    parser = argparse.ArgumentParser(description="Make what all storms share.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    make(Material(arguments.folder.resolve()), tiny=arguments.tiny)


if __name__ == "__main__":
    main()
