"""What every test stands on: a clean environment, a real Redis, real small models, and no process left behind."""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest
from xdist.scheduler import LoadScopeScheduling

_FOR_TESTS = ("PENSTOCK_TEST_DATA", "PENSTOCK_MODELS", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")
# Before anything else is imported: no setting, device or hub cache of whoever runs the tests may change a result.
for name in list(os.environ):
    if name.startswith(("PENSTOCK_", "CUDA_", "HF_", "TRANSFORMERS_", "CELERY_")) and name not in _FOR_TESTS:
        del os.environ[name]
# A shell that runs the tests in the background lets them ignore interrupts, and so would every command they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
_home = tempfile.mkdtemp(prefix="penstock-tests-")
atexit.register(shutil.rmtree, _home, ignore_errors=True)
if "PYTEST_XDIST_WORKER" in os.environ:  # several processes of tests: their threads would only wait for each other's
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "HF_HOME": f"{_home}/huggingface",
    "PENSTOCK_PROOF_DOCUMENTS": "0",  # it takes seconds: on where it is tested
    "XDG_CONFIG_HOME": f"{_home}/config",
    "XDG_DATA_HOME": f"{_home}/data",
    "XDG_STATE_HOME": f"{_home}/state",
}

from worker.broker import EmbeddedRedis  # noqa: E402 (after the environment is clean)

ROOT = Path(__file__).resolve().parents[1]
SUBJECTS = ("the river", "a pump", "our valley", "the old mill", "every turbine", "the keeper")
VERBS = ("fills", "turns", "forgets", "measures", "praises", "refuses")
OBJECTS = ("the quiet water", "a heavy wheel", "seven gates", "the morning", "nothing at all", "its own noise")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Where tests run in several processes, a file's tests share one.

    All of chaos shares one: it starts many processes itself, and some of its files share what they set on stage.
    (xdist's own groups, by mark, do nothing under pytest 9.2.)
    """

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::")[0]
            return "tests/chaos" if "/chaos/" in file else file

    return ByFile(config, log)


@pytest.fixture(scope="session", autouse=True)
def _no_process_left() -> Iterator[None]:
    yield
    left = psutil.Process().children(recursive=True)
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=10)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real outside data; tests that want it are skipped where there is none."""
    place = os.environ.get("PENSTOCK_TEST_DATA")
    if not place:
        pytest.skip("PENSTOCK_TEST_DATA is not set")
    return Path(place)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[EmbeddedRedis]:
    """One Redis for the whole session; what a test leaves in it is there for the next one."""
    with EmbeddedRedis(256 * 2**20) as server:
        yield server


@pytest.fixture
def fresh_redis() -> Iterator[EmbeddedRedis]:
    """An empty Redis that a test may kill and start again: it keeps what it holds."""
    with EmbeddedRedis(256 * 2**20, append_only=True) as server:
        yield server


def example(name: str) -> ModuleType:
    """A file of examples/, imported."""
    spec = importlib.util.spec_from_file_location(f"penstock_example_{name}", ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Path]:
    """``make_model(texts, out, labels=…, …)`` of examples/make_model.py: writes a small random checkpoint."""
    function: Callable[..., Path] = example("make_model").make_model
    return function


def sentences(count: int) -> list[str]:
    """So many different English-like sentences of different lengths, the same every time."""
    texts = []
    for number in range(count):
        clauses = [
            f"{SUBJECTS[(number + k) % 6]} {VERBS[(number // 6 + k) % 6]} {OBJECTS[(number // 36 + 2 * k) % 6]}"
            for k in range(1 + number % 7)
        ]
        texts.append(f"{number}: " + ", and ".join(clauses) + ".")
    return texts


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """300 sentences."""
    return sentences(300)


@pytest.fixture(scope="session")
def tiny_model(make_model: Callable[..., Path], texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RoBERTa of two layers with random weights and its own tokenizer."""
    return make_model(texts, tmp_path_factory.mktemp("model") / "tiny", vocab_size=600, max_positions=130)


@pytest.fixture(scope="session")
def tiny_classifier(
    make_model: Callable[..., Path], texts: list[str], tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A classifier of three labels on the encoder of ``tiny_model``."""
    out = tmp_path_factory.mktemp("model") / "classifier"
    return make_model(
        texts, out, vocab_size=600, max_positions=130, labels=("calm", "busy", "loud"), encoder_from=tiny_model
    )


@pytest.fixture
def small_corpus(tmp_path: Path, texts: list[str]) -> Path:
    """300 documents as JSON Lines with the fields ``id``, ``text``, ``number`` and ``parity``."""
    path = tmp_path / "corpus.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number, text in enumerate(texts):
            parity = "odd" if number % 2 else "even"
            file.write(json.dumps({"id": f"doc-{number}", "text": text, "number": number, "parity": parity}) + "\n")
    return path


@pytest.fixture
def penstock(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line in a process of its own, in the test's folder: ``penstock("run", corpus, "--out", out)``."""

    def run(*arguments: object, timeout: float = 240, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "worker", *map(str, arguments)],
            cwd=tmp_path,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def built_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, built from a copy: nothing that lies about in the tree may get into it."""
    source, out = tmp_path_factory.mktemp("source") / "penstock", tmp_path_factory.mktemp("wheel")
    left_out = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "tests")
    shutil.copytree(ROOT, source, ignore=left_out)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)],
        check=True,
        capture_output=True,
    )
    (wheel,) = out.glob("*.whl")
    return wheel
