"""The floors of the house: who imports whom, who loads torch, who reads the environment, and what files look like."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("pipelines", "tasks", "worker")
MAX_LINES = 300
FORBIDDEN_WORDS = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}
SHADOWING_NAMES = {"celery", "redis", "queue", "logging", "types"}
ONE_READER = Path("worker/settings.py")
TORCH_FREE = (
    "worker.cli",
    "worker.app",
    "worker.settings",
    "worker.supervisor",
    "worker.health",
    "tasks.feed",
    "tasks.runs",
    "tasks.ledger",
    "tasks.transport",
    "pipelines.corpus",
    "pipelines.parts",
    "pipelines.proof.process",
    "pipelines.roberta.checkpoint",
)


def modules() -> list[Path]:
    """Every module of the three packages, relative to the root."""
    return sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def python_files() -> list[Path]:
    """Every Python file of the project."""
    more = [path.relative_to(ROOT) for folder in ("tests", "examples") for path in (ROOT / folder).rglob("*.py")]
    return sorted([*modules(), *more])


def test_imports_point_down() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    assert linter.exists() or shutil.which("lint-imports"), "import-linter is not installed"
    answer = subprocess.run(
        [str(linter) if linter.exists() else "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("name", TORCH_FREE)
def test_it_starts_without_torch(name: str) -> None:
    code = f"import sys, {name}; print(*sorted({{'torch', 'transformers'}} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stdout.strip()) == (0, ""), answer.stderr


def test_a_worker_starts_without_the_model_hub() -> None:
    code = "import sys, pipelines.extract, tasks.extract, worker.app; print('huggingface_hub' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.stdout.strip() == "False", answer.stderr


def environment_reads(tree: ast.AST) -> Iterator[int]:
    """The lines that reach for the environment: ``os.environ``, ``os.getenv``, ``os.putenv`` and imports of them."""
    names = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
    for node in ast.walk(tree):
        attribute = isinstance(node, ast.Attribute) and node.attr in names
        imported = isinstance(node, ast.ImportFrom) and node.module == "os" and names & {a.name for a in node.names}
        if attribute or imported:
            yield node.lineno


def test_one_file_reads_the_environment() -> None:
    found = [
        f"{path}:{line}"
        for path in modules()
        if path != ONE_READER
        for line in environment_reads(ast.parse((ROOT / path).read_text(encoding="utf-8")))
    ]
    assert found == []
    assert list(environment_reads(ast.parse((ROOT / ONE_READER).read_text(encoding="utf-8"))))


@pytest.mark.parametrize(
    "source", ["os.environ['A']", "os.getenv('A')", "from os import environ as e", "x = os.environ"]
)
def test_a_reader_of_the_environment_would_be_seen(source: str) -> None:
    assert list(environment_reads(ast.parse(source))) == [1]


def test_no_file_is_long() -> None:
    long = {str(path): lines for path in python_files() if (lines := _lines(path)) > MAX_LINES}
    assert long == {}


def test_files_are_named_after_what_they_do() -> None:
    words = {str(path): set(path.stem.split("_")) for path in python_files()}
    assert {path for path, found in words.items() if found & FORBIDDEN_WORDS} == set()
    assert {str(path) for path in modules() if path.stem in SHADOWING_NAMES} == set()


def test_every_file_says_what_it_is() -> None:
    silent = [
        str(path)
        for path in python_files()
        if not ast.get_docstring(ast.parse((ROOT / path).read_text(encoding="utf-8")))
    ]
    assert silent == []


def test_test_folders_are_no_packages_and_test_files_have_names_of_their_own() -> None:
    tests = list((ROOT / "tests").rglob("*.py"))
    assert [path for path in tests if path.name == "__init__.py"] == []
    names = [path.name for path in tests if path.name.startswith("test_")]
    assert sorted(names) == sorted(set(names))


def test_public_functions_and_classes_are_documented() -> None:
    silent = []
    for path in modules():
        for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if public and not ast.get_docstring(node):
                silent.append(f"{path}:{node.lineno} {node.name}")
    assert silent == []


def _lines(path: Path) -> int:
    return len((ROOT / path).read_text(encoding="utf-8").splitlines())
