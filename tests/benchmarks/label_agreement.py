"""How far vectors and labels move with the number format: trained classifiers, on documents they never saw.

    PYTHONPATH=tests python -m benchmarks.label_agreement DATA --work DIR [--set ag_news …] [--write]

DATA holds ``ag_news/test.csv``, ``banking77/train.csv`` and ``test.csv``, and ``tokenizer_roberta``. A classifier that
DIR holds already is not trained again. Prints one JSON object; with --write it goes into docs/int8.json, and its tables
into docs/int8.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from benchmarks.engine.machine import machine
from benchmarks.small_classifier import Recipe, train
from transformers import RobertaTokenizer

from pipelines.calibration import CPU_CANDIDATES
from pipelines.corpus import open_corpus
from pipelines.documents import Batch
from pipelines.extract import Extractor
from pipelines.opening import make_spec
from pipelines.spec import Dtype
from worker.cli.options import make_request
from worker.cli.run import run

DOCS = Path(__file__).resolve().parents[2] / "docs"
FORMATS = (Dtype.FLOAT32, Dtype.BFLOAT16, Dtype.INT8)
TOKEN_BUDGET = CPU_CANDIDATES[-1]
"""The largest that is tried on a CPU: the more documents share a scale of int8, the coarser it may be."""
FLAGS = "--embed mean --classify self"


@dataclass(frozen=True)
class Labelled:
    """Texts and what they are."""

    texts: list[str]
    labels: list[str]


@dataclass(frozen=True)
class Task:
    """A set of real documents, and how a classifier of it is trained."""

    name: str
    about: str
    recipe: Recipe

    def read(self, data: Path) -> tuple[Labelled, Labelled]:
        """What is trained on, and what is held out."""
        if self.name == "ag_news":  # its train split is not at hand: of the test split 5,000 are trained on
            rows = [(f"{title}\n{text}", label) for label, title, text in rows_of(data / "ag_news" / "test.csv")]
            return labelled(rows[:5000]), labelled(rows[5000:])
        train_rows, test_rows = (rows_of(data / "banking77" / f"{part}.csv")[1:] for part in ("train", "test"))
        return labelled(train_rows), labelled(test_rows)


TASKS = (
    Task("ag_news", "AG News, 4 topics", Recipe(epochs=5)),
    Task("banking77", "Banking77, 77 intents", Recipe(epochs=6, masked=0.1, peak_rate=8e-4)),
)


def rows_of(path: Path) -> list[list[str]]:
    """The rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def labelled(rows: Sequence[Sequence[str]]) -> Labelled:
    """Of rows with a text and a label."""
    return Labelled([row[0] for row in rows], [row[1] for row in rows])


def extract(model: Path, corpus: Path, dtype: Dtype) -> pa.Table:
    """The dataset's rows of a corpus, by the run's own extractor."""
    flags = [str(corpus), "--out", "unused", "--model", str(model), *FLAGS.split()]
    given = run.make_context("run", flags).params
    spec = make_spec(make_request(given, dtype=dtype, batch_documents=10**6, spool_to=Path("unused")))
    with open_corpus(spec.corpus) as reader:
        extracted = Extractor(spec, token_budget=TOKEN_BUDGET).extract(Batch(0, 0, list(reader)))
    assert not extracted.rejects, extracted.rejects[0]
    return extracted.table


def compare(exact: pa.Table, other: pa.Table, truth: Sequence[str], column: str = "embedding") -> dict[str, Any]:
    """What another number format changes, and how near to a tie those documents were whose label it changed.

    A document's probability difference is the largest of its classes'; its margin is that of float32.
    """
    a, b = matrix(exact, column), matrix(other, column)
    cosines = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    p, q = matrix(exact, "scores"), matrix(other, "scores")
    apart = np.abs(p - q).max(axis=1)
    ranked = np.sort(p, axis=1)
    margins = ranked[:, -1] - ranked[:, -2]
    was, became, right = (np.array(names) for names in (labels(exact), labels(other), truth))
    flipped = was != became
    return {
        "accuracy": round(float((became == right).mean()), 5),
        "agreement": round(float((~flipped).mean()), 5),
        "flips": int(flipped.sum()),
        "flips_to_right": int((flipped & (became == right)).sum()),
        "flips_from_right": int((flipped & (was == right)).sum()),
        "flip_margins": sorted(round(float(margin), 5) for margin in margins[flipped]),
        "max_probability_difference": float(f"{apart.max():.3g}"),
        "mean_probability_difference": float(f"{apart.mean():.3g}"),
        "min_cosine": round(float(cosines.min()), 6),
        "mean_cosine": round(float(cosines.mean()), 6),
        "near_ties": {str(below): int((margins < below).sum()) for below in (0.01, 0.05, 0.1)},
    }


def labels(table: pa.Table) -> list[str]:
    """The label of each document."""
    found: list[str] = table["label"].to_pylist()
    return found


def matrix(table: pa.Table, column: str) -> npt.NDArray[np.float64]:
    """A column of vectors. *Shape:* ``[documents, numbers]``."""
    return np.stack(table[column].to_numpy()).astype(np.float64)


def measure(task: Task, data: Path, work: Path) -> dict[str, Any]:
    """Train where that was not done, extract in each format, compare with float32."""
    taught, held_out = task.read(data)
    model, corpus = work / task.name, work / f"{task.name}.jsonl"
    if not (model / "model.safetensors").exists():
        tokenizer = RobertaTokenizer.from_pretrained(data / "tokenizer_roberta")
        train(taught.texts, taught.labels, tokenizer, model, task.recipe, say)
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in held_out.texts), encoding="utf-8")
    exact = extract(model, corpus, Dtype.FLOAT32)
    found = {}
    for dtype in FORMATS:
        other = exact if dtype is Dtype.FLOAT32 else extract(model, corpus, dtype)
        found[str(dtype)] = compare(exact, other, held_out.labels)
        print(task.name, dtype, found[str(dtype)], file=sys.stderr)
    return {
        "about": task.about,
        "classes": len(set(taught.labels)),
        "trained_on": len(taught.texts),
        "held_out": len(held_out.texts),
        "recipe": asdict(task.recipe),
        "formats": found,
    }


def say(number: int, loss: float) -> None:
    print(f"epoch {number}: loss {loss:.3f}", file=sys.stderr, flush=True)


def tables(results: dict[str, Any]) -> Iterator[str]:
    """What docs/int8.md shows of the results."""
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    yield f"{versions}, token budget {results['token_budget']:,}, a CPU with {', '.join(results['cpu_flags'])}:"
    for task in results["tasks"].values():
        recipe = task["recipe"]
        yield ""
        yield (
            f"**{task['about']}**: {recipe['layers']} layers of {recipe['hidden']}, trained on {task['trained_on']:,} "
            f"documents, {task['held_out']:,} held out."
        )
        yield ""
        yield (
            "| dtype | accuracy | same label | other labels (to right, from right) | their margins in float32 "
            "| probability apart, max (mean) | cosine, min (mean) |"
        )
        yield "|---|---|---|---|---|---|---|"
        for dtype, one in task["formats"].items():
            margins = one["flip_margins"]
            spread = f"median {np.median(margins):.3f}, max {margins[-1]:.3f}" if margins else "–"
            yield (
                f"| {dtype} | {one['accuracy']:.2%} | {one['agreement']:.2%} "
                f"| {one['flips']} ({one['flips_to_right']}, {one['flips_from_right']}) | {spread} "
                f"| {one['max_probability_difference']:.4f} ({one['mean_probability_difference']:.5f}) "
                f"| {one['min_cosine']:.5f} ({one['mean_cosine']:.5f}) |"
            )


def write_page(docs: Path = DOCS) -> None:
    """The tables of what is stored, into the page."""
    page = docs / "int8.md"
    results = json.loads((docs / "int8.json").read_text(encoding="utf-8"))
    before, rest = page.read_text(encoding="utf-8").split("<!-- the tables -->\n")
    _, after = rest.split("<!-- end of the tables -->")
    middle = "\n".join(tables(results))
    page.write_text(f"{before}<!-- the tables -->\n{middle}\n<!-- end of the tables -->{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="where the trained classifiers are kept")
    parser.add_argument("--set", action="append", choices=[task.name for task in TASKS], help="default: all")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    chosen = [task for task in TASKS if not given.set or task.name in given.set]
    where = machine()
    results = {
        "cpu_flags": where["flags"],
        "versions": {name: where["versions"][name].partition("+")[0] for name in ("torch", "transformers")},
        "threads": torch.get_num_threads(),
        "token_budget": TOKEN_BUDGET,
        "tasks": {task.name: measure(task, given.data, given.work) for task in chosen},
    }
    print(json.dumps(results))
    if given.write:
        (DOCS / "int8.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        write_page()


if __name__ == "__main__":
    main()
