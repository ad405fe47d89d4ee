"""docs/features.md: every line of its table is what the command line makes of the flags."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from parity.choice_models import add_choice_head
from parity.head_models import add_question_answering, add_token_classifier
from parity.lm_models import add_lm_head

from pipelines.extract import row_schema
from pipelines.opening import make_spec
from pipelines.spec import Dtype
from worker.cli.options import make_request
from worker.cli.run import run

NLI = ("contradiction", "neutral", "entailment")
ROOT = Path(__file__).resolve().parents[2]
ORDINARY = {"id", "n_tokens", "n_used", "input_digest"}
_ROW = re.compile(r"\|(?P<flags>[^|]*)\|(?P<model>[^|]*)\| `(?P<column>\w+)` \| `(?P<type>[^`]+)` \|")


def table() -> dict[tuple[str, str], dict[str, str]]:
    """Columns and types by flags and kind of model."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    key = ("", "")
    for line in (ROOT / "docs" / "features.md").read_text(encoding="utf-8").splitlines():
        if row := _ROW.fullmatch(line.strip()):
            if flags := row["flags"].strip().strip("`"):
                key = flags, row["model"].strip()
            found.setdefault(key, {})[row["column"]] = row["type"]
    return found


TABLE = table()


@pytest.fixture(scope="session")
def models(
    tiny_model: Path, tiny_classifier: Path, make_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A model of each kind that the table names."""
    root = tmp_path_factory.mktemp("kinds")
    multi = root / "multi"
    shutil.copytree(tiny_classifier, multi)
    config = json.loads((multi / "config.json").read_text())
    (multi / "config.json").write_text(json.dumps({**config, "problem_type": "multi_label_classification"}))
    number = make_model([], root / "regression", labels=("number",), encoder_from=tiny_model)
    sentences = root / "sentences"
    shutil.copytree(tiny_model, sentences)
    kinds = ("Transformer", "Pooling", "Normalize")
    modules = [{"path": f"{n}_{kind}" if n else "", "type": kind} for n, kind in enumerate(kinds)]
    (sentences / "modules.json").write_text(json.dumps(modules))
    (sentences / "1_Pooling").mkdir()
    (sentences / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    return {
        "sentence-transformers folder": sentences,
        "any": tiny_model,
        "token classifier": add_token_classifier(tiny_model, root / "tokens", ("O", "B-PER", "I-PER")),
        "question answering": add_question_answering(tiny_model, root / "answers"),
        "classifier": tiny_classifier,
        "multi-label classifier": multi,
        "regression": number,
        "NLI classifier": make_model([], root / "nli", labels=NLI, encoder_from=tiny_model),
        "multiple choice": add_choice_head(tiny_model, root / "choices"),
        "language model": add_lm_head(tiny_model, root / "filler"),
    }


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A document with the columns that the table names."""
    path = tmp_path_factory.mktemp("corpus") / "c.jsonl"
    path.write_text(json.dumps({"text": "a", "parity": "odd", "choices": ["b"], "candidates": ["c"]}) + "\n")
    return path


def test_the_table_has_lines() -> None:
    assert len(TABLE) > 10


@pytest.mark.parametrize(("flags", "model"), TABLE, ids=[f"{flags} ({model})" for flags, model in TABLE])
def test_a_line_is_what_the_flags_make(flags: str, model: str, models: dict[str, Path], corpus: Path) -> None:
    arguments = [str(corpus), "--out", "out", "--model", str(models[model]), *shlex.split(flags)]
    given = run.make_context("run", arguments).params
    request = make_request(given, dtype=Dtype.FLOAT32, batch_documents=64, spool_to=Path("unused"))
    spec = make_spec(request)
    sizes = {"H/8": spec.model.hidden_size // 8, "H": spec.model.hidden_size, "C": len(spec.features[0].model.labels)}
    wanted = {
        column: re.sub(r"\[(H/8|H|C)\]", lambda found: f"[{sizes[found[1]]}]", kind)
        for column, kind in TABLE[flags, model].items()
    }
    found = {field.name: str(field.type) for field in row_schema(spec)}
    assert {name: re.sub(r"\bitem: ", "", kind) for name, kind in found.items() if name not in ORDINARY} == wanted
