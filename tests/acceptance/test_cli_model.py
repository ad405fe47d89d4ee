"""``penstock model``: import, export, info and list, as a person and a script see them."""

from __future__ import annotations

import json
import re
import shlex
import socket
import tarfile
from pathlib import Path

import pytest
from acceptance.commands import call
from acceptance.conftest import Ask
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from unit import fairseq_models


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """fairseq's archive of a small model with two heads, in a folder of its own as the released ones are."""
    root = {"args": fairseq_models.arguments(), "model": fairseq_models.state(heads={"mnli": 3, "race": 1})}
    folder = fairseq_models.write(tmp_path / "source", root, legacy=True)
    with tarfile.open(tmp_path / "tiny.tar.gz", "w:gz") as made:
        made.add(folder, "roberta.tiny")
    return tmp_path / "tiny.tar.gz"


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The models folder, not there yet."""
    monkeypatch.setenv("PENSTOCK_MODELS_DIR", str(tmp_path / "models"))
    return tmp_path / "models"


def test_an_archive_becomes_a_model_that_is_known_by_its_name(
    archive: Path, models: Path, tmp_path: Path, ask: Ask
) -> None:
    refused = ask("model", "import-fairseq", archive, "--out", models / "roberta.large.wsc")
    assert refused.code == 2
    assert "'mnli', 'race'" in refused.refusal
    made = ask(
        *("model", "import-fairseq", archive, "--out", models / "roberta.large.wsc", "--head", "mnli", "--json"),
    )
    assert made.code == 0, made.err
    assert (made.value["head"], made.value["left_out"]) == ("mnli", ["race"])
    assert made.value["labels"] == ["contradiction", "neutral", "entailment"]
    assert [path.name for path in models.iterdir()] == ["roberta.large.wsc"]
    again = ask("model", "import-fairseq", archive, "--out", models / "roberta.large.wsc", "--head", "mnli")
    assert (again.code, "not an empty folder" in again.refusal) == (4, True)

    folder = models / "roberta.large.wsc"
    assert len(AutoTokenizer.from_pretrained(folder)("the river")["input_ids"]) == 4  # two words
    assert AutoModelForSequenceClassification.from_pretrained(folder).config.id2label[2] == "entailment"

    listed = {row["name"]: row for row in ask("model", "list", "--json").value["models"]}
    assert (listed["roberta.large.wsc"]["state"], listed["roberta.large.wsc"]["place"]) == ("folder", str(folder))
    assert listed["roberta.base"]["place"] == "FacebookAI/roberta-base"

    (tmp_path / "c.jsonl").write_text('{"id": "a", "text": "the river"}\n')
    run = ask(
        *("run", "c.jsonl", "--out", "out", "--model", "roberta.large.wsc", "--classify", "nli=roberta.large.wsc"),
        *("--inline", "--dtype", "float32", "--devices", "cpu", "--json"),
    )
    assert (run.code, run.value["rows"]) == (0, 1), run.err

    info = ask("model", "info", "roberta.large.wsc", "--json").value
    assert (info["layers"], info["hidden_size"], info["attention_heads"]) == (3, 24, 4)
    assert (info["max_tokens"], info["vocab_size"], info["digest"]) == (70, 281, made.value["digest"])
    assert info["heads"] == [{"kind": "language model", "outputs": 281}, {"kind": "sequence classifier", "outputs": 3}]
    assert info["uses"] == ["embedding", "classify", "zero-shot", "fill-mask", "pronouns"]
    shown = ask("model", "info", "roberta.large.wsc")
    assert "contradiction, neutral, entailment" in shown.out

    back = ask("model", "export-fairseq", "roberta.large.wsc", "--out", "back", "--json")
    assert (back.code, back.value["head"], back.value["notes"]) == (0, "mnli", [])
    assert {path.name for path in (tmp_path / "back").iterdir()} == {
        *("model.pt", "dict.txt", "vocab.bpe", "encoder.json", "label")
    }


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("info", "roberta.large.wsc"), 3, "import-fairseq"),
        (("info", "nothing"), 3, "no model folder"),
        (("import-fairseq", "nothing.pt", "--out", "x"), 3, "no file or folder"),
        (("import-fairseq", "source"), 2, "--out"),
        (("export-fairseq", "nothing", "--out", "x"), 3, "no model folder"),
        (("import-fairseq", "tiny.tar.gz", "--out", "tiny.tar.gz/x", "--head", "mnli"), 3, "cannot be written"),
    ],
)
def test_refusals_are_one_line(arguments: tuple[str, ...], code: int, said: str, archive: Path, ask: Ask) -> None:
    refused = ask("model", *arguments)
    assert (refused.code, said in refused.refusal) == (code, True), refused.err
    as_json = ask("model", *arguments, "--json")
    assert as_json.code == code
    assert said in json.dumps(as_json.value["error"], ensure_ascii=False)


def test_a_checkpoint_of_fairseq_is_to_be_imported_first(archive: Path, tmp_path: Path, ask: Ask) -> None:
    assert ask("model", "import-fairseq", archive, "--out", "made", "--head", "mnli").code == 0
    assert ask("model", "export-fairseq", "made", "--out", "a folder").code == 0
    for source in (archive, "source/model.pt", "source", tmp_path / "a folder"):
        refused = ask("model", "info", source)
        assert (refused.code, f"`penstock model import-fairseq {shlex.quote(str(source))} --out DIR`") == (
            3,
            *re.findall("`.*`", refused.refusal),
        )
    (tmp_path / "notes.txt").write_text("no model")
    assert "import-fairseq" not in ask("model", "info", "notes.txt").refusal
    (tmp_path / "made" / "training.pt").touch()  # some keep their optimizer's state there
    (tmp_path / "made" / "dict.txt").touch()
    assert ask("model", "info", "made").code == 0


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("roberta.large", "roberta.large, FacebookAI/roberta-large on the model hub, is in no folder or cache here"),
        ("FacebookAI/roberta-large@main", "FacebookAI/roberta-large@main is in no folder or cache here"),
        ("roberta-large", "There is no model folder 'roberta-large'. On the model hub it is FacebookAI/roberta-large:"),
    ],
)
def test_without_the_hub_there_is_one_line_and_not_its_clients_tries(asked: str, said: str, tmp_path: Path) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # a port that nobody listens at
        hub = {"HF_ENDPOINT": f"http://127.0.0.1:{deaf.getsockname()[1]}", "HF_HUB_OFFLINE": "0"}
        refused = call(tmp_path, "model", "info", asked, **hub)
    assert (refused.code, refused.refusal[: len(said)]) == (3, said)


def test_a_list_of_no_models_names_the_folder(models: Path, ask: Ask) -> None:
    listed = ask("model", "list")
    assert listed.code == 0
    assert str(models) in listed.out
    assert [line.split()[0] for line in listed.out.splitlines()[:-1]] == [
        *("roberta.base", "roberta.large", "roberta.large.mnli", "roberta.large.wsc")
    ]
